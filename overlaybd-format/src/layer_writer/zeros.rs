//! Finding the pages of data that hold nothing but zeros.

/// A part of the data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether all of it is zeros and need not be stored.
    pub(crate) zeroed: bool,
}

/// Cuts `bytes`, which belong at byte `offset` of the device, where pages of zeros begin and end. If
/// zeros are not `wanted`, all is one run.
pub(crate) fn runs(offset: u64, bytes: &[u8], wanted: bool) -> impl Iterator<Item = Run<'_>> {
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if !wanted {
            return Some(Run { bytes: std::mem::take(&mut rest), zeroed: false });
        }
        let mut len = 0;
        let mut zeroed = false;
        while let Some(unread) = rest.get(len..).filter(|unread| !unread.is_empty()) {
            let page = to_page_end(at.saturating_add(len as u64)).min(unread.len());
            let blank = page == PAGE && is_blank(unread.get(..page).unwrap_or_default());
            if len == 0 {
                zeroed = blank;
            } else if blank != zeroed {
                break;
            }
            len = len.saturating_add(page);
        }
        let (run, after) = rest.split_at(len);
        (rest, at) = (after, at.saturating_add(len as u64));
        Some(Run { bytes: run, zeroed })
    })
}

fn to_page_end(at: u64) -> usize {
    PAGE.saturating_sub((at % PAGE as u64) as usize)
}

/// Looks at a cache line at a time, which the processor does in a few instructions.
fn is_blank(page: &[u8]) -> bool {
    page.as_chunks::<64>().0.iter().all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// What filesystems clear, and the least that is worth an entry of its own, in bytes.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(offset: u64, bytes: &[u8], wanted: bool) -> Vec<(usize, bool)> {
        runs(offset, bytes, wanted).map(|run| (run.bytes.len(), run.zeroed)).collect()
    }

    #[test]
    fn whole_pages_of_zeros_are_found() {
        let mut bytes = vec![0; 5 * PAGE];
        bytes[PAGE] = 1;
        bytes[4 * PAGE - 1] = 1;
        assert_eq!(
            cut(0, &bytes, true),
            [(PAGE, true), (PAGE, false), (PAGE, true), (PAGE, false), (PAGE, true)]
        );
        assert_eq!(cut(0, &bytes, false), [(5 * PAGE, false)]);
        assert_eq!(cut(0, &[], true), []);
    }

    #[test]
    fn pages_are_those_of_the_device() {
        let bytes = vec![0; 2 * PAGE];
        assert_eq!(cut(512, &bytes, true), [(PAGE - 512, false), (PAGE, true), (512, false)]);
        assert_eq!(cut(4096, &bytes[..PAGE - 512], true), [(PAGE - 512, false)], "no whole page");
    }
}
