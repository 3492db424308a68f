//! The entry point of the fuzz target for `pipeline.yaml` (`fuzz/`): it takes any bytes, reads them as the product would, and
//! asserts what must hold whatever they are.

use crate::config;
use crate::yaml::{self, Edit, Node, NodeKind, Stream};

/// Edits of one text that are tried.
const EDITS: usize = 8;

/// Values that are written: one for each way in which quotes may be needed.
const VALUES: [&str; 5] = ["r.io/web:1.2.3", "true", "a: b # c", "é\u{7f}\n", "12e3"];

/// Reads a text as `pipeline.yaml`, and edits its scalars as YAML.
pub fn pipeline(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match config::load("pipeline.yaml", text) {
        Ok(config) => {
            let shown = config::show(&config);
            let again = config::load("pipeline.yaml", &shown);
            assert!(
                again.is_ok(),
                "what is shown is refused: {shown}\n{again:?}"
            );
            let _ = config::warnings(&config);
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            for problem in errors.problems() {
                let span = problem.span.clone();
                assert!(text.get(span).is_some(), "{problem:?} stands nowhere");
            }
        }
    }
    if let Ok(stream) = yaml::parse(text) {
        edit(text, &stream);
    }
}

/// Everything outside of the edited scalars stays, and the edited scalars have their values.
fn edit(text: &str, stream: &Stream) {
    let mut open: Vec<&Node> = stream.documents.iter().collect();
    let mut edits: Vec<Edit> = Vec::new();
    while let Some(node) = open.pop() {
        assert!(text.get(node.span.clone()).is_some(), "{:?}", node.span);
        match &node.kind {
            NodeKind::Scalar(_) if node.span.is_empty() => {}
            NodeKind::Scalar(_) => {
                if edits.len() < EDITS {
                    edits.push(Edit {
                        span: node.span.clone(),
                        value: VALUES[edits.len() % VALUES.len()].to_owned(),
                    });
                }
            }
            NodeKind::Alias(_) => {}
            NodeKind::Sequence(items) => open.extend(items),
            NodeKind::Mapping(entries) => {
                open.extend(entries.iter().flat_map(|(key, value)| [key, value]));
            }
        }
    }
    for edit in &edits {
        let Ok(result) = yaml::replace_scalars(text, std::slice::from_ref(edit)) else {
            continue;
        };
        let (before, after) = (&text[..edit.span.start], &text[edit.span.end..]);
        assert!(result.starts_with(before) && result.ends_with(after));
        assert!(result.len() >= before.len() + after.len());
        let again = yaml::parse(&result).map(|stream| stream.documents.len());
        assert_eq!(again, Ok(stream.documents.len()));
    }
    let _ = yaml::replace_scalars(text, &edits);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[("pipeline", pipeline)];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
