//! Errors for people: one line, in which each cause stands once.

/// The error and its causes, outermost first. The errors of the libraries name their own causes and places,
/// which are not named again.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.contains(&cause) {
            continue;
        }
        if cause.starts_with(&line) {
            line = cause;
        } else {
            line = format!("{line}: {cause}");
        }
    }
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};
    use overlaybd_format::Error;

    use super::*;

    #[test]
    fn each_cause_stands_once() {
        let disk = Error::io(7, 5, std::io::Error::other("the disk is gone")).in_blob(&"layer".into());
        let error = anyhow::Error::new(disk).context("config.v1.json");
        assert_eq!(one_line(&error), "config.v1.json: layer: reading 5 bytes at 7: the disk is gone");
        let error = Err::<(), _>(anyhow!("below")).context("above").unwrap_err();
        assert_eq!(one_line(&error), "above: below");
        let error = anyhow!("layer: broken at 5").context("layer");
        assert_eq!(one_line(&error), "layer: broken at 5");
    }

    #[test]
    fn text_from_outside_stays_on_the_line() {
        assert_eq!(one_line(&anyhow!("a\nb\u{1b}[31m")), "a b [31m");
    }
}
