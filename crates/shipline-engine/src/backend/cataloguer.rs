//! What lists the packages of an image.

use shipline_model::name::Digest;

use crate::backend::{Artifact, Looking};
use crate::error::BackendError;

/// An image's packages as a document (a software bill of materials).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// The document, JSON of some standard.
    pub document: Artifact,
    /// The packages in it.
    pub packages: usize,
    /// Things that a person should know (package data that could not be read).
    pub notes: Vec<String>,
}

/// Lists the packages of an image. Called on blocking threads.
pub trait Cataloguer: Send + Sync {
    /// All that decides a document besides the image and its name. Equal keys allow to take an earlier document.
    fn key(&self) -> String;

    /// Lists the packages of the image that people know as `name`. The same image under the same name gives the same bytes.
    ///
    /// # Errors
    /// Where it cannot begin. Malformed package data is no error: a note tells of it.
    fn catalogue<'l>(
        &'l self,
        name: &str,
        digest: &Digest,
    ) -> Result<Looking<'l, Sbom>, BackendError>;
}
