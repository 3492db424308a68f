//! Entry points of the fuzz targets (`fuzz/`): each takes any bytes, reads them as the product would, and asserts what must hold
//! whatever they are.

use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};

use git2::Oid;
use shipline_engine::backend::{Pinning, SetImage, Target};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::{HttpExchange, HttpRequest, HttpResponse};
use shipline_model::config::Containers;
use shipline_model::name::{ComponentName, EnvironmentName, Tag};

use super::wire::{Push, Service, Want, Wire};
use crate::edit::plan;
use crate::files::Memory;
use crate::folder::Manifest;
use crate::record;

/// A server that answers everything with the same bytes.
struct Server(Vec<u8>);

impl HttpExchange for Server {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let kind = match request.url.rsplit_once("service=") {
            Some((_, service)) => format!("application/x-{service}-advertisement"),
            None => "application/x-git-result".to_owned(),
        };
        Ok(HttpResponse {
            status: 200,
            headers: vec![("Content-Type".to_owned(), kind)],
            body: Box::new(Cursor::new(self.0.clone())),
        })
    }
}

/// Speaks git's protocol with a server that says anything: asks for its refs, fetches from it and pushes to it. The list of refs
/// ends with the first two flushes; what stands behind them is the answer to the rest.
pub fn packets(bytes: &[u8]) {
    let wire = |bytes: &[u8]| Wire {
        url: "https://git.example.com/x".to_owned(),
        exchange: Arc::new(Server(bytes.to_vec())),
        token: None,
        max_pack: 1 << 20,
        moved: Mutex::new(None),
        waiting: Arc::default(),
    };
    let refs = wire(bytes).refs(Service::Receive);
    let flush = |bytes: &[u8]| bytes.windows(4).position(|window| window == b"0000");
    let rest = flush(bytes).map_or(bytes, |at| &bytes[at + 4..]);
    let id = Oid::ZERO_SHA1;
    let want = Want {
        commit: id,
        have: Some(id),
        shallow: &[id],
        depth: Some(1),
    };
    let _ = wire(rest).fetch(&want, &mut |pack: &mut dyn Read| {
        let mut read = Vec::new();
        pack.take(1 << 20)
            .read_to_end(&mut read)
            .map_err(|cause| BackendError::new(ErrorClass::Failed, "read a pack").because(cause))?;
        assert!(read.len() <= rest.len());
        Ok(())
    });
    if let Ok(refs) = refs {
        assert!(refs.get("refs/heads/main").is_none_or(|id| !id.is_zero()));
        let push = Push {
            reference: "refs/heads/main",
            old: id,
            new: id,
            pack: b"PACK",
        };
        let _ = wire(rest).push(&refs, &push);
    }
}

/// Deploys to the manifests in a text: files with a line `#### PATH` above each. What the edit does not announce stays, and
/// once made it is up to date.
pub fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = record::parse(&text);
    let mut files: Vec<Manifest> = Vec::new();
    for part in text.split("#### ").take(6) {
        let (path, content) = part.split_once('\n').unwrap_or(("", part));
        let path = match path.trim() {
            "" => "staging/web/web.yaml".to_owned(),
            path => path.to_owned(),
        };
        if files.iter().all(|file| file.path != path) {
            files.push(Manifest {
                path,
                bytes: content.as_bytes().to_vec(),
            });
        }
    }
    for containers in [Containers::Named, Containers::All] {
        let Some(image) = image(containers) else {
            return;
        };
        let images = [image];
        let Ok(done) = plan(&images, &Memory::new(files.clone(), Vec::new())) else {
            continue;
        };
        assert_eq!(done.files.is_empty(), done.changes.is_empty());
        let mut after = files.clone();
        for file in &mut after {
            let Some(new) = done.files.get(&file.path) else {
                continue;
            };
            let lines: Vec<usize> = done
                .changes
                .iter()
                .filter(|change| change.file == file.path)
                .map(|change| change.line)
                .collect();
            only(&lines, &file.bytes, new);
            file.bytes.clone_from(new);
        }
        let again = plan(&images, &Memory::new(after, Vec::new()));
        assert!(
            again.is_ok_and(|again| again.files.is_empty()),
            "an edit that was made is not up to date"
        );
    }
}

/// Asserts that only these lines (1-based) change, and those beside them: a value in a block stands on the line behind its own,
/// and the keys of one image beside one another.
fn only(lines: &[usize], old: &[u8], new: &[u8]) {
    let split = |bytes: &[u8]| -> Vec<Vec<u8>> {
        bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (old, new) = (split(old), split(new));
    assert_eq!(old.len(), new.len(), "lines come or go");
    for (index, (old, new)) in old.iter().zip(&new).enumerate() {
        let near = |line: &usize| line.abs_diff(index + 1) < 6;
        assert!(
            old == new || lines.iter().any(near),
            "line {} changes",
            index + 1
        );
    }
}

fn image(containers: Containers) -> Option<SetImage> {
    Some(SetImage {
        target: Target {
            containers,
            ..Target::new(
                ComponentName::new("web").ok()?,
                EnvironmentName::new("staging").ok()?,
            )
        },
        name: None,
        tag: Tag::new("new-1.2.3").ok()?,
        digest: None,
        pinning: Pinning::AsBefore,
        source_commit: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[("packets", packets), ("manifest", manifest)];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
