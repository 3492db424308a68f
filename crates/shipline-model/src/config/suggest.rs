//! "Did you mean …".

/// Keys of other tools that people write for ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("build_args", "args"),
    ("cmd", "command"),
    ("depends_on", "needs"),
    ("env", "environment"),
    ("expires", "until"),
    ("jobs", "stages"),
    ("script", "command"),
    ("services", "components"),
    ("stage", "target"),
    ("type", "kind"),
];

/// Words longer than this, in bytes, are nobody's slip.
const LONGEST: usize = 64;

/// How many known words are listed.
const LISTED: usize = 40;

/// The help for a word that is none of the known ones: the nearest, or all of them.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none yet".to_owned(),
        None => match known.split_at_checked(LISTED) {
            Some((first, rest @ [_, ..])) => {
                let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
                format!("known here: {} and {} more", first.join(", "), rest.len())
            }
            Some(_) | None => format!("known here: {}", list(&known)),
        },
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase().replace(['-', ' '], "_");
    let synonym = SYNONYMS
        .iter()
        .find(|(other, _)| *other == word)
        .and_then(|(_, ours)| known.iter().find(|known| *known == ours));
    if let Some(synonym) = synonym {
        return Some(synonym);
    }
    let mut longer = known
        .iter()
        .filter(|known| word.len() >= 3 && known.starts_with(&word));
    if let (Some(only), None) = (longer.next(), longer.next()) {
        return Some(only);
    }
    let distance =
        |known: &str| strsim::damerau_levenshtein(&word, &known.to_lowercase().replace('-', "_"));
    let near = |known: &&&str| known.len().abs_diff(word.len()) <= LONGEST;
    known
        .iter()
        .filter(near)
        .map(|known| (distance(known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(word.len()).div_ceil(3).min(3))
        .map(|(_, known)| known)
}

/// `a, b and c`, each in backquotes.
pub(super) fn list<'a>(
    words: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let check = |word: &str, known: &[&'static str], expected: Option<&str>| {
            assert_eq!(nearest(word, known), expected, "{word}");
        };
        check("imge", &["image", "path"], Some("image"));
        check("depends_on", &["kind", "needs"], Some("needs"));
        check("tag-prefix", &["args", "tag_prefix"], Some("tag_prefix"));
        check("Components", &["components"], Some("components"));
        check("stagign", &["staging", "production"], Some("staging"));
        check("colour", &["image", "path"], None);
        check("x", &["url"], None);
        check("prod", &["staging", "production"], Some("production"));
    }

    #[test]
    fn far_words_list_what_is_known() {
        assert_eq!(
            did_you_mean("colour", ["image", "path", "uses"]),
            "known here: `image`, `path` and `uses`"
        );
    }
}
