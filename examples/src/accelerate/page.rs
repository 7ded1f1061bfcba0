//! The status page.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::job::State;
use super::queue::Entry;

/// The page, with the latest jobs first. Everything in it that came from outside is escaped.
pub(super) fn page(registry: &str, entries: &[Entry]) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, registry, entries);
    page
}

fn write_page(out: &mut String, registry: &str, entries: &[Entry]) -> fmt::Result {
    let count = |name: &str| entries.iter().filter(|entry| entry.state.name() == name).count();
    let registry = Escaped(registry);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>accelerate</title>\n\
         <style>body {{ font-family: sans-serif }} td, th {{ padding: 0 1em 0 0; text-align: left }}</style>\n\
         </head><body>\n<h1>Images of {registry}</h1>\n\
         <p>{} waiting, {} done, {} skipped, {} failed</p>\n\
         <table>\n<tr><th>image<th>tag<th>mode<th>state<th>since<th>failures<th>\n",
        count("waiting"),
        count("done"),
        count("skipped"),
        count("failed"),
    )?;
    for Entry { job, state, since, failures } in entries.iter().take(MOST_SHOWN) {
        let detail = match state {
            State::Waiting => String::new(),
            State::Done { accelerated } => accelerated.to_string(),
            State::Skipped { why } | State::Failed { why } => why.clone(),
        };
        writeln!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{failures}<td>{}",
            Escaped(&job.image.to_string()),
            Escaped(job.tag.as_deref().unwrap_or_default()),
            job.plan.mode,
            state.name(),
            ago(*since),
            Escaped(&detail),
        )?;
    }
    out.write_str("</table>\n</body></html>\n")
}

/// How long ago, to the second.
fn ago(since: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = now.saturating_sub(Duration::from_secs(since)).as_secs();
    match ago {
        0..120 => format!("{ago} s"),
        120..7200 => format!("{} min", ago / 60),
        _ => format!("{} h", ago / 3600),
    }
}

/// Text without a meaning in HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// More than anybody reads.
const MOST_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerate::job::{Job, Plan};
    use crate::convert::options::Mode;

    #[test]
    fn text_from_outside_has_no_meaning() {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let plan = Plan { mode: Mode::Full, platforms: vec![], tag_suffix: None };
        let job = Job { image: format!("h.io/a@{digest}").parse().unwrap(), tag: Some("1".into()), plan };
        let state = State::Failed { why: "<script>\"&".into() };
        let text = page("h.io", &[Entry { job, state, since: 0, failures: 5 }]);
        assert!(text.contains("&lt;script&gt;&quot;&amp;") && !text.contains("<script"), "{text}");
        assert!(text.contains("0 waiting, 0 done, 0 skipped, 1 failed"), "{text}");
    }
}
