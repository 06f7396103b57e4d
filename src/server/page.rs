//! Pages end at 256 KiB, with one item at least.

use prost::Message;

use crate::model::MAX_PAGE_BYTES;

/// How many of `items` fit on a page.
pub(super) fn fitting<T>(items: &[T], size: impl Fn(&T) -> usize) -> usize {
    let mut bytes = 0;
    let over = items.iter().position(|item| {
        bytes += size(item);
        bytes > MAX_PAGE_BYTES
    });
    over.map_or(items.len(), |place| place.max(1))
}

/// Cuts a list to what fits on a page, and says whether anything was left out.
pub(super) fn cut<M: Message>(items: &mut Vec<M>) -> bool {
    let fit = fitting(items, M::encoded_len);
    let left_out = fit < items.len();
    items.truncate(fit);
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_item_at_least_and_ends_at_its_size() {
        let fit = |sizes: &[usize]| fitting(sizes, |size| *size);
        assert_eq!(fit(&[]), 0);
        assert_eq!(fit(&[MAX_PAGE_BYTES + 1, 1]), 1);
        assert_eq!(fit(&[MAX_PAGE_BYTES, 1]), 1);
        assert_eq!(fit(&[MAX_PAGE_BYTES - 1, 1, 1]), 2);
    }
}
