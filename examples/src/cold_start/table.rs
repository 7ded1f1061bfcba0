//! The measurements for people.

use std::fmt;

use crate::progress::bytes;

use super::{AtLink, Measured, Row};

/// Prints [`Measured`] as a table.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Measured);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { base_bytes, image_bytes, touched_bytes, local, warm, round_trip, links } = self.0;
        writeln!(
            f,
            "image: {} ordinary, {} accelerated; a start touches {}",
            bytes(*base_bytes),
            bytes(*image_bytes),
            bytes(*touched_bytes)
        )?;
        writeln!(f, "start from local files: {local:.2} s, in the page cache {warm:.2} s")?;
        for AtLink { bits_per_second, limit, ways } in links {
            let megabits = *bits_per_second as f64 / 1e6;
            writeln!(f, "\n{megabits:.0} Mbit/s, {:.0} ms; limit L = {limit:.2} s", round_trip * 1e3)?;
            let head = ["way", "pull, s", "answer, s", "÷ L", "received", "requests"];
            let [way, pull, answer, ratio, received, requests] = head;
            writeln!(f, "{way:28} {pull:>8} {answer:>10} {ratio:>6} {received:>10} {requests:>9}")?;
            for Row { way, median, .. } in ways {
                writeln!(
                    f,
                    "{way:28} {:>8.2} {:>10.2} {:>6.2} {:>10} {:>9}",
                    median.pull,
                    median.answer,
                    median.answer / limit,
                    bytes(median.bytes),
                    median.requests
                )?;
            }
        }
        Ok(())
    }
}
