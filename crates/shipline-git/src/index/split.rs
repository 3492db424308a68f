//! The split index: most entries are in a second file that several writes share, and the index holds what differs (git's
//! `Documentation/gitformat-index`, "Split index", and `gitformat-bitmap`, "Serialization format for an EWAH bitmap").

use git2::Oid;

use super::{Bytes, Entry, Problem};

/// What the extension `link` says.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The checksum of the shared index, by which its file is called; `None` where no file is needed.
    pub(super) shared: Option<Oid>,
    deleted: Bitmap,
    replaced: Bitmap,
}

impl Link {
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
        let shared = bytes.id()?;
        let (deleted, replaced) = if bytes.0.is_empty() {
            (Bitmap::default(), Bitmap::default())
        } else {
            (Bitmap::read(bytes)?, Bitmap::read(bytes)?)
        };
        if !bytes.0.is_empty() {
            return Err(Problem::Cut);
        }
        Ok(Self {
            shared: (!shared.is_zero()).then_some(shared),
            deleted,
            replaced,
        })
    }

    /// The entries of both files: `own` begins with those that replace shared ones, whose names they leave out.
    pub(crate) fn merge(
        &self,
        mut shared: Vec<Entry>,
        own: Vec<Entry>,
    ) -> Result<Vec<Entry>, Problem> {
        let mut own = own.into_iter();
        for at in self.replaced.positions(shared.len())? {
            let mut new = own.next().ok_or(Problem::Cut)?;
            if new.path.is_empty() {
                new.path = std::mem::take(&mut shared[at].path);
            }
            shared[at] = new;
        }
        let mut deleted = self.deleted.positions(shared.len())?.into_iter().peekable();
        let mut at = 0;
        shared.retain(|_| {
            let gone = deleted.next_if_eq(&at).is_some();
            at += 1;
            !gone
        });
        shared.extend(own);
        if shared.iter().any(|entry| entry.path.is_empty()) {
            return Err(Problem::Cut);
        }
        // A stable sort: the sides of a conflict keep their order.
        shared.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(shared)
    }
}

/// A compressed set of positions.
#[derive(Debug, Clone, Default)]
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Problem> {
        let _bits = bytes.number()?;
        let count = usize::try_from(bytes.number()?).map_err(|_| Problem::Cut)?;
        let words = bytes.take(count.checked_mul(8).ok_or(Problem::Cut)?)?;
        let (words, _) = words.as_chunks();
        let words = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        let _last_run = bytes.number()?;
        Ok(Self(words))
    }

    /// The positions in the set, in order. One at or behind `end` is none: a few bytes could claim billions of them.
    fn positions(&self, end: usize) -> Result<Vec<usize>, Problem> {
        let mut found = Vec::new();
        // The first bit of the next word.
        let mut first = 0usize;
        let mut words = self.0.iter();
        while let Some(run) = words.next() {
            // A run of equal words, then words as they are: 1 bit says what the run is of, 32 how long it is, 31 how many follow.
            let length = usize::try_from(run >> 1 & 0xffff_ffff).map_err(|_| Problem::Cut)?;
            let behind = length
                .checked_mul(64)
                .and_then(|bits| first.checked_add(bits))
                .ok_or(Problem::Cut)?;
            if run & 1 == 1 {
                if behind > end.next_multiple_of(64) {
                    return Err(Problem::Cut);
                }
                found.extend(first..behind);
            }
            first = behind;
            for _ in 0..run >> 33 {
                let word = words.next().ok_or(Problem::Cut)?;
                found.extend(
                    (0..64)
                        .filter(|bit| word >> bit & 1 == 1)
                        .map(|bit| first + bit),
                );
                first = first.checked_add(64).ok_or(Problem::Cut)?;
            }
        }
        if found.last().is_some_and(|last| *last >= end) {
            return Err(Problem::Cut);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs: what they are of, how many words, and the words behind them.
    fn bitmap(runs: &[(bool, u64, &[u64])]) -> Bitmap {
        let mut words = Vec::new();
        for (of, length, literal) in runs {
            words.push(u64::from(*of) | length << 1 | (literal.len() as u64) << 33);
            words.extend_from_slice(literal);
        }
        Bitmap(words)
    }

    #[test]
    fn runs_and_words_are_positions() {
        let some = bitmap(&[(false, 1, &[0b101]), (true, 1, &[1])]);
        let mut expected = vec![64, 66];
        expected.extend(128..192);
        expected.push(192);
        assert_eq!(some.positions(193), Ok(expected));
        assert_eq!(some.positions(192), Err(Problem::Cut));
        assert_eq!(bitmap(&[]).positions(0), Ok(Vec::new()));
        // Four gigawords of ones, and words that are not there.
        assert_eq!(
            bitmap(&[(true, 0xffff_ffff, &[])]).positions(9),
            Err(Problem::Cut)
        );
        assert_eq!(Bitmap(vec![1 << 33]).positions(9), Err(Problem::Cut));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 20..120)) {
            if let Ok(link) = Link::read(&mut Bytes(&bytes)) {
                let _ = link.merge(Vec::new(), Vec::new());
                let _ = link.replaced.positions(1000);
            }
        }
    }
}
