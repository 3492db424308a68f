//! Caches are outside the build context: a Dockerfile that copies out of one is told so before anything is built.

use shipline_engine::backend::BuildRequest;

use super::dockerfile::{Copy, CopySource, Dockerfile, DockerfileError, InstructionKind};
use super::embedded::within;
use super::pattern::{clean, has_wildcard};

/// Refuses a `COPY` or `ADD` from the context whose source is a cache or lies in one. What args decide is found missing later.
pub(super) fn refuse_copies(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
) -> Result<(), DockerfileError> {
    let stages = dockerfile.stages.iter();
    for instruction in stages.flat_map(|stage| &stage.instructions) {
        let InstructionKind::Copy(Copy {
            sources,
            from: None,
            ..
        }) = &instruction.kind
        else {
            continue;
        };
        for source in sources {
            let CopySource::Path(written) = source else {
                continue;
            };
            if let Some(cache) = within(&request.caches, plain(written).as_bytes()) {
                let what = format!(
                    "`{written}` lies in the cache `{cache}`, which no build context holds: its bytes are in no commit and in no key"
                );
                return Err(DockerfileError::new(instruction.line, what).remedy(format!(
                    "let `prepare` put what the image needs elsewhere, or list `{cache}` under `include_caches` of the component; its image is then built anew in every run"
                )));
            }
        }
    }
    Ok(())
}

/// The folders of a source before its first wildcard, from the context.
fn plain(source: &str) -> String {
    let path = clean(&format!("/{source}"));
    let parts = path.split('/').filter(|part| !part.is_empty());
    let plain: Vec<&str> = parts.take_while(|part| !has_wildcard(part)).collect();
    plain.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_wildcard_decides() {
        for (source, expected) in [
            (".venv/bin", ".venv/bin"),
            ("./a/../b/", "b"),
            ("/a/*.txt", "a"),
            ("*/a", ""),
            ("../a", "a"),
        ] {
            assert_eq!(plain(source), expected, "{source}");
        }
    }
}
