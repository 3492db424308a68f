//! Which base images a build stood on, with the digests where the engine knows them.

use bollard::Docker;
use bollard::errors::Error;
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;

/// The images that the Dockerfile names, as it writes them. Those whose digest the engine does not know are left out:
/// BuildKit keeps what it pulls in its own cache, and images that were never in a registry have none.
pub(super) async fn of(
    docker: &Docker,
    request: &BuildRequest,
    task: &TaskContext,
) -> Result<Vec<(String, Digest)>, BackendError> {
    let text = crate::build::read_text(request)?;
    let target = request.target.as_deref();
    let references =
        match crate::build::base_references(&text, target, &request.args, &request.platform) {
            Ok(references) => references,
            Err(error) => {
                // The engine built it, so its own language may know more than ours.
                task.note(format!("the base images are not recorded: {error}"))
                    .await;
                return Ok(Vec::new());
            }
        };
    let mut bases = Vec::new();
    for (reference, _) in references {
        let (name, written) = match reference.split_once('@') {
            Some((name, digest)) => (name, Digest::new(digest).ok()),
            None => (reference.as_str(), None),
        };
        let digest = match written {
            Some(digest) => Some(digest),
            None => match docker.inspect_image(&reference).await {
                Ok(image) => digest_in(name, &image.repo_digests.unwrap_or_default()),
                Err(Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => None,
                Err(error) => {
                    return Err(BackendError::new(
                        ErrorClass::Retryable,
                        format!("ask the engine about `{reference}`"),
                    )
                    .because(error));
                }
            },
        };
        bases.extend(digest.map(|digest| (reference.clone(), digest)));
    }
    Ok(bases)
}

/// The digest under which the engine knows image `name`, from `repository@digest` entries of several repositories.
fn digest_in(name: &str, entries: &[String]) -> Option<Digest> {
    let wanted = repository(name);
    entries
        .iter()
        .filter_map(|entry| entry.split_once('@'))
        .find(|(entry, _)| repository(entry) == wanted)
        .and_then(|(_, digest)| Digest::new(digest).ok())
}

/// A reference's repository without tag, in the short form that engines use for Docker Hub.
fn repository(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_repository() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entries = [
            format!("localhost:5000/node@{}", digest("1")),
            format!("node@{}", digest("2")),
            format!("example.com/a/node@{}", digest("3")),
        ];
        for (name, expected) in [
            ("node:22", Some("2")),
            ("docker.io/library/node", Some("2")),
            ("localhost:5000/node:22", Some("1")),
            ("example.com/a/node", Some("3")),
            ("other", None),
        ] {
            let found = digest_in(name, &entries).map(|digest| digest.to_string());
            assert_eq!(found, expected.map(digest), "{name}");
        }
    }
}
