//! `--chmod`: octal, or symbolic as chmod(1) reads it.

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These bits, whatever was there.
    Octal(u32),
    /// Clauses, one after the other.
    Symbolic(Vec<Clause>),
}

/// `u+rX` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of those whose rights change.
    who: u32,
    operator: char,
    rights: String,
}

impl ModeChange {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(|| format!("`--chmod={text}` is more than 07777"));
        }
        let wrong =
            || format!("`--chmod={text}` is neither octal (`0755`) nor symbolic (`u=rwX,go=rX`)");
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let letters = part.find(['+', '-', '=']).ok_or_else(wrong)?;
            let mut who = 0;
            for letter in part[..letters].chars() {
                who |= match letter {
                    'u' => 0o5700,
                    'g' => 0o3070,
                    // Only the others have no sticky bit to change: so BSD's chmod has it, whose rules Docker took.
                    'o' => 0o0007,
                    'a' => 0o7777,
                    _ => return Err(wrong()),
                };
            }
            if letters == 0 {
                who = 0o7777;
            }
            let mut rest = &part[letters..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..]
                    .find(['+', '-', '='])
                    .map_or(rest.len(), |end| end + 1);
                let rights = &rest[1..end];
                if !rights.chars().all(|c| "rwxXstugo".contains(c)) {
                    return Err(wrong());
                }
                clauses.push(Clause {
                    who,
                    operator,
                    rights: rights.to_owned(),
                });
                rest = &rest[end..];
            }
        }
        Ok(Self::Symbolic(clauses))
    }

    pub(crate) fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| {
                let mut bits = 0;
                for right in clause.rights.chars() {
                    bits |= match right {
                        'r' => 0o444,
                        'w' => 0o222,
                        'x' => 0o111,
                        'X' if directory || mode & 0o111 != 0 => 0o111,
                        's' => 0o6000,
                        't' => 0o1000,
                        'u' => spread(mode >> 6),
                        'g' => spread(mode >> 3),
                        'o' => spread(mode),
                        _ => 0,
                    };
                }
                let bits = bits & clause.who;
                // `=` takes away set-user and set-group bits too, unless it copies rights; the sticky bit stays.
                let cleared = if clause.rights.contains(['u', 'g', 'o']) {
                    0o777
                } else {
                    0o6777
                };
                match clause.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => (mode & !(clause.who & cleared)) | bits,
                }
            }),
        }
    }
}

/// Three bits for all three.
fn spread(bits: u32) -> u32 {
    let bits = bits & 7;
    bits << 6 | bits << 3 | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, before, directory, expected) in [
            ("755", 0o644, false, 0o755),
            ("0644", 0o755, false, 0o644),
            ("4755", 0o644, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o644, false, 0o444),
            ("go=", 0o755, false, 0o700),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("g=u", 0o750, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
            ("u-x+w", 0o555, false, 0o655),
            ("a=rx", 0o7755, false, 0o1555),
            ("u=", 0o7755, false, 0o3055),
            ("g=r", 0o7755, false, 0o5745),
            ("o=r", 0o7755, false, 0o7754),
            ("a=t", 0o7755, false, 0o1000),
            ("a-t", 0o7755, false, 0o6755),
            ("o-t", 0o7755, false, 0o7755),
            ("o+t", 0o644, false, 0o644),
            ("u+t", 0o644, false, 0o1644),
            ("-s", 0o7755, false, 0o1755),
            ("+s", 0o755, false, 0o6755),
            ("o+s", 0o644, false, 0o644),
            ("g=u", 0o7755, false, 0o7775),
            ("u=s", 0o7755, false, 0o7055),
        ] {
            assert_eq!(
                ModeChange::parse(text).unwrap().apply(before, directory),
                expected,
                "{text}"
            );
        }
        for bad in ["", "999", "77777", "rw", "u+q", "z+x"] {
            assert!(ModeChange::parse(bad).is_err(), "{bad}");
        }
    }
}
