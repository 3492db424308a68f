//! An image as a tar that is an OCI layout and that `docker load` of any age takes.

use std::io::{self, Read, Write};

use shipline_engine::backend::ImageStore;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use super::{LayoutStore, copy};
use crate::image::{self, DockerArchiveEntry, REF_NAME, RawDescriptor, RawIndex};

impl LayoutStore {
    /// Writes image `digest` as a tar under the name `reference` (`repository:tag`). Old engines read its `manifest.json`,
    /// others its `index.json`.
    ///
    /// # Errors
    /// `NotFound` where the image or one of its blobs is not there; `Failed` where the writer fails.
    pub fn export_docker_archive(
        &self,
        digest: &Digest,
        reference: &str,
        writer: &mut dyn Write,
    ) -> Result<(), BackendError> {
        let manifest = self.manifest(digest)?.ok_or_else(|| {
            BackendError::new(ErrorClass::NotFound, format!("export image {digest}"))
                .because("it is not in the store")
        })?;
        let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        let mut entry = RawDescriptor::new(&manifest.descriptor);
        entry
            .annotations
            .insert(REF_NAME.to_owned(), reference.to_owned());
        entry
            .annotations
            .insert("io.containerd.image.name".to_owned(), reference.to_owned());
        let index = RawIndex {
            manifests: vec![entry],
            ..RawIndex::empty()
        };
        let archive = vec![DockerArchiveEntry {
            config: path(&manifest.config.digest),
            repo_tags: vec![reference.to_owned()],
            layers: manifest
                .layers
                .iter()
                .map(|layer| path(&layer.digest))
                .collect(),
        }];
        let mut tar = tar::Builder::new(writer);
        let failed = |error: io::Error| {
            BackendError::new(ErrorClass::Failed, format!("export image {digest}")).because(error)
        };
        for (name, bytes) in [
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), image::to_json(&index)?),
            ("manifest.json".to_owned(), image::to_json(&archive)?),
            (path(digest), manifest.bytes.clone()),
        ] {
            let mut header = file_header(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice())
                .map_err(failed)?;
        }
        let mut done = std::collections::BTreeSet::new();
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if done.insert(&blob.digest) {
                let mut header = file_header(blob.size);
                header.set_path(path(&blob.digest)).map_err(failed)?;
                header.set_cksum();
                let stream = tar.get_mut();
                stream.write_all(header.as_bytes()).map_err(failed)?;
                let copied =
                    copy(&mut self.open(&blob.digest)?.take(blob.size), stream).map_err(failed)?;
                if copied != blob.size {
                    return Err(failed(io::Error::other(format!(
                        "blob {} is shorter than its size",
                        blob.digest
                    ))));
                }
                let padding = (512 - blob.size % 512) % 512;
                copy(&mut io::repeat(0).take(padding), stream).map_err(failed)?;
            }
        }
        tar.finish().map_err(failed)
    }
}

fn file_header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
