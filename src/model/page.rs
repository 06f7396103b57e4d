//! The sizes of pages (api.md, "Sizes, pages, clocks").

use super::error::{Error, Result};

/// The page size where none is asked for.
pub const DEFAULT_PAGE_SIZE: usize = 100;
/// The largest page of a list, in items; a larger wish is lowered to it.
pub const MAX_PAGE_SIZE: usize = 1_000;
/// Where a page ends for its size, in bytes; one item is always given.
pub const MAX_PAGE_BYTES: usize = 256 * 1024;

/// The page size of a list for what was asked.
///
/// # Errors
/// A negative size names the field.
pub fn page_size(asked: i32) -> Result<usize> {
    match usize::try_from(asked) {
        Err(_) => Err(Error::field("page_size", "must not be negative")),
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_have_a_default_a_cap_and_a_floor() {
        assert_eq!(page_size(0).unwrap(), 100);
        assert_eq!(page_size(7).unwrap(), 7);
        assert_eq!(page_size(5_000).unwrap(), 1_000);
        assert_eq!(page_size(-1).unwrap_err().fields()[0].field, "page_size");
    }
}
