//! What a token must allow: `repository:team/web:pull,push`, several with blanks between them.

/// Most of a challenge's scope that is taken.
const WORDS: usize = 8;
const LENGTH: usize = 1024;

/// Our scope, and what the registry says that it wants beside it: some know a repository by another name than it is asked for.
pub(super) fn with(ours: &str, asked: &str) -> String {
    let mut all: Vec<&str> = ours.split(' ').filter(|word| !word.is_empty()).collect();
    let clean = |word: &&str| {
        word.len() <= LENGTH && word.contains(':') && word.bytes().all(|b| b.is_ascii_graphic())
    };
    for word in asked.split(' ').filter(clean).take(WORDS) {
        if !all.iter().any(|known| covers(known, word)) {
            all.push(word);
        }
    }
    all.join(" ")
}

/// Whether a scope allows all that another one allows.
fn covers(known: &str, word: &str) -> bool {
    match (known.rsplit_once(':'), word.rsplit_once(':')) {
        (Some((name, has)), Some((other, wants))) => {
            let has: Vec<&str> = has.split(',').collect();
            name == other && wants.split(',').all(|action| has.contains(&action))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_wants_is_added_to_what_we_want() {
        let check = |ours: &str, asked: &str, expected: &str| {
            assert_eq!(with(ours, asked), expected, "{ours} {asked}");
        };
        let ours = "repository:a:pull,push";
        check(ours, "repository:a:pull", ours);
        check(ours, "repository:a:push,pull", ours);
        check(ours, "", ours);
        check(ours, "\u{7f}:x no-colon", ours);
        check(
            ours,
            "repository:docker/a:pull",
            "repository:a:pull,push repository:docker/a:pull",
        );
        check(
            ours,
            "repository:a:*",
            "repository:a:pull,push repository:a:*",
        );
        check("", "registry:catalog:*", "registry:catalog:*");
        let many = "r:a:pull ".repeat(100) + &"r:".repeat(2000);
        assert_eq!(with("", &many), "r:a:pull");
    }
}
