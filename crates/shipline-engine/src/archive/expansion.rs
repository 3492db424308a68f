//! How much may come out of how little.

use std::io;

use super::invalid;

/// So much may come out of anything, in bytes.
const FREE: u64 = 1 << 30;

/// Beyond that, so many bytes may come out for each that went in. Files full of zeros are a thousand times smaller in gzip, whole
/// layers are not: they hold other files as well.
const RATIO: u64 = 400;

/// Refuses what has grown out of all proportion.
pub(super) fn check(came: u64, went_in: u64) -> io::Result<()> {
    if came > FREE.saturating_add(went_in.saturating_mul(RATIO)) {
        return Err(invalid(format!(
            "it unpacks to more than {} GiB and more than {RATIO} times its size, as no honest archive does",
            FREE >> 30
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_may_become_a_gigabyte_and_much_may_become_more() {
        assert!(check(FREE, 0).is_ok());
        assert!(check(FREE + 1, 0).is_err());
        assert!(check(FREE + RATIO * 10, 10).is_ok());
        assert!(check(FREE + RATIO * 10 + 1, 10).is_err());
        assert!(check(u64::MAX, u64::MAX).is_ok());
    }
}
