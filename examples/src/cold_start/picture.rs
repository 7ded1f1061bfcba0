//! The measurements as a picture: bytes over time, the answer marked.

use std::fmt::Write;

use super::{AtLink, Measured, Row};

/// An SVG with one panel for each bandwidth.
pub fn svg(measured: &Measured) -> String {
    let height = PANEL * measured.links.len() as f64 + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (n, link) in measured.links.iter().enumerate() {
        panel(&mut out, link, PANEL * n as f64, measured.round_trip);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, link: &AtLink, top: f64, round_trip: f64) {
    let medians = || link.ways.iter().map(|row| &row.median);
    let seconds = medians().map(|run| run.answer).fold(link.limit, f64::max) * 1.02;
    let most = medians().map(|run| run.bytes).max().unwrap_or(1).max(1) as f64;
    let x = |time: f64| LEFT + time / seconds * (WIDTH - LEFT - RIGHT);
    let y = |bytes: f64| top + TOP + (1.0 - bytes / most) * (PANEL - TOP - BOTTOM);
    let (left, right, low, high) = (x(0.0), x(seconds), y(0.0), y(most));
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"{:.1}\" font-weight=\"bold\">{:.0} Mbit/s, {:.0} ms: MB received over seconds; \
         the circle is the answer</text>\n\
         <path d=\"M{left} {high:.1}V{low:.1}H{right}\" fill=\"none\" stroke=\"#444\"/>",
        top + 18.0,
        link.bits_per_second as f64 / 1e6,
        round_trip * 1e3,
    );
    for tick in 0..=4 {
        let part = f64::from(tick) / 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{:.1}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{:.0}</text>",
            x(seconds * part),
            low + 16.0,
            seconds * part,
            left - 6.0,
            y(most * part) + 4.0,
            most * part / 1e6,
        );
    }
    let limit = x(link.limit);
    let _ = writeln!(
        out,
        "<path d=\"M{limit:.1} {low:.1}V{high:.1}\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#777\">L = {:.2} s</text>",
        limit + 4.0,
        high + 10.0,
        link.limit,
    );
    for (n, (Row { way, median, .. }, colour)) in link.ways.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let points = median.timeline.iter().fold(String::new(), |mut points, &(time, bytes)| {
            let _ = write!(points, "{:.1},{:.1} ", x(time.min(median.answer)), y(bytes as f64));
            points
        });
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{way}: {:.2} s</text>",
            points.trim_end(),
            x(median.answer),
            y(median.bytes as f64),
            WIDTH - RIGHT + 12.0,
            high + 24.0 + 20.0 * n as f64,
            median.answer,
        );
    }
}

const WIDTH: f64 = 860.0;
const PANEL: f64 = 260.0;
const LEFT: f64 = 50.0;
/// Room for the names of the ways.
const RIGHT: f64 = 230.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;
/// Told apart by people who see colours otherwise, too (Okabe and Ito).
const COLOURS: [&str; 5] = ["#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7"];

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;

    #[test]
    fn each_way_is_a_line_with_its_name_and_answer() {
        let row = |way, answer: f64| Row {
            way,
            median: Run {
                pull: 0.5,
                answer,
                bytes: 1000,
                requests: 3,
                timeline: vec![(0.0, 0), (answer, 1000)],
            },
            answers: vec![answer],
        };
        let link = AtLink {
            bits_per_second: 100_000_000,
            limit: 1.0,
            ways: vec![row("eager", 4.0), row("lazy", 1.5)],
        };
        let measured = Measured {
            base_bytes: 1,
            image_bytes: 1,
            touched_bytes: 1,
            local: 1.0,
            warm: 0.5,
            round_trip: 0.02,
            links: vec![link],
        };
        let svg = svg(&measured);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        for text in ["100 Mbit/s, 20 ms", "eager: 4.00 s", "lazy: 1.50 s", "L = 1.00 s"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
