//! Times on the command line.

use std::time::Duration;

/// A time in seconds, with fractions.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && seconds <= LONGEST => Ok(time),
        _ => Err(format!("not between 0 and {LONGEST} seconds")),
    }
}

/// A day.
const LONGEST: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_that_passes_is_one() {
        assert_eq!(parse("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "x", "0", "-1", "NaN", "inf", "86401", "1s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
