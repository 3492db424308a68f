//! The base images of components that lock them: what their Dockerfiles name, what `pipeline.lock` says of them, and what of
//! that moved.

use std::collections::BTreeMap;

use shipline_engine::backend::SourceRepo;
use shipline_engine::error::ErrorClass;
use shipline_model::config::{Component, ImageSpec, Variants};
use shipline_model::name::{ComponentName, Digest, RepoPath};
use shipline_model::plan::{Base, ChangeSet, ComponentChange, LOCK_FILE, MovedBase};
use shipline_model::value::{Template, Value, Variables};
use shipline_oci::build::dockerfile::Dockerfile;
use shipline_oci::build::{base_references, lockable_references};
use shipline_oci::pull::{ImageReference, LockKey, Pins, PipelineLock, ReferenceError};

use crate::error::CommandError;

/// A base image of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedBase {
    /// As the Dockerfile names it, its args put in.
    pub(crate) written: String,
    /// The same in full.
    pub(crate) reference: ImageReference,
    /// Its entry in the lock.
    pub(crate) key: LockKey,
}

/// Whether a component's base images are locked.
pub(crate) fn locks(component: &Component) -> bool {
    component.path.is_some() && component.image.as_ref().is_some_and(|image| image.lock)
}

/// What pins the base images of those of `components` that lock them. The lock is a source like any other: read from the commit,
/// with the uncommitted changes over it.
pub(crate) fn pins(
    components: &[&Component],
    source: &dyn SourceRepo,
) -> Result<Pins, CommandError> {
    let components = components
        .iter()
        .filter(|component| locks(component))
        .map(|component| component.name.clone())
        .collect();
    let mut pins = Pins {
        components,
        lock: PipelineLock::default(),
    };
    if !pins.components.is_empty()
        && let Some(bytes) = source.read(&lock_path()?)?
    {
        pins.lock = PipelineLock::parse(&String::from_utf8_lossy(&bytes))?;
    }
    Ok(pins)
}

fn lock_path() -> Result<RepoPath, CommandError> {
    RepoPath::new(LOCK_FILE).map_err(|error| CommandError::usage(error.to_string()))
}

/// The images that a component's Dockerfile names, for any of its variants, each once, in the Dockerfile's order.
pub(crate) fn named(
    component: &Component,
    source: &dyn SourceRepo,
    variables: &Variables,
) -> Result<Vec<NamedBase>, CommandError> {
    let Some(image) = &component.image else {
        return Ok(Vec::new());
    };
    let cannot = || {
        CommandError::usage(format!(
            "the base images of {} cannot be found out",
            component.name
        ))
    };
    let bytes = source.read(&image.dockerfile)?.ok_or_else(|| {
        cannot()
            .because(format!("{} is not among the sources", image.dockerfile))
            .hint("a component with `lock` needs a Dockerfile that git does not ignore")
    })?;
    let text = Dockerfile::decode(&bytes)
        .map_err(|error| cannot().because(format!("{} {error}", image.dockerfile)))?;
    let mut found: Vec<NamedBase> = Vec::new();
    for args in args(image, variables).map_err(|missing| cannot().because(missing))? {
        let references = lockable_references(
            &text,
            image.target.as_deref(),
            &args,
            &image.platform,
            image.engine,
        )
        .map_err(|error| {
            let remedy = error.remedy.clone();
            let wrong = cannot().because(format!("{} {error}", image.dockerfile));
            match remedy {
                Some(remedy) => wrong.hint(remedy),
                None => wrong,
            }
        })?;
        for (written, line) in references {
            if found.iter().any(|base| base.written == written) {
                continue;
            }
            let reference: ImageReference = written.parse().map_err(|error: ReferenceError| {
                cannot().because(format!("{} line {line}: {error}", image.dockerfile))
            })?;
            found.push(NamedBase {
                key: LockKey::new(&reference, &image.platform),
                written,
                reference,
            });
        }
    }
    Ok(found)
}

/// The images that a Dockerfile's text names, for any of the image's variants, as they are written; nothing where that cannot be
/// told.
pub(crate) fn bases(
    image: &ImageSpec,
    dockerfile: &[u8],
    variables: &Variables,
) -> Option<Vec<String>> {
    let text = std::str::from_utf8(dockerfile).ok()?;
    let mut found = Vec::new();
    for args in args(image, variables).ok()? {
        let references =
            base_references(text, image.target.as_deref(), &args, &image.platform).ok()?;
        found.extend(references.into_iter().map(|(reference, _)| reference));
    }
    Some(found)
}

/// The args of each of an image's variants, or which variables are missing.
fn args(image: &ImageSpec, variables: &Variables) -> Result<Vec<BTreeMap<String, Value>>, String> {
    let resolve = |templates: &BTreeMap<String, Template>| {
        templates
            .iter()
            .map(|(name, template)| match template.resolve(variables) {
                Ok(value) => Ok((name.clone(), value)),
                Err(missing) => {
                    let names: Vec<String> = missing
                        .iter()
                        .map(shipline_model::value::MissingVariable::written)
                        .collect();
                    Err(format!("not set: {}", names.join(", ")))
                }
            })
            .collect::<Result<BTreeMap<String, Value>, String>>()
    };
    let shared = resolve(&image.args)?;
    match &image.variants {
        Variants::One => Ok(vec![shared]),
        Variants::PerEnvironment(variants) => variants
            .values()
            .map(|variant| {
                let mut args = shared.clone();
                args.extend(resolve(&variant.args)?);
                Ok(args)
            })
            .collect(),
    }
}

/// What is known of the locked base images of a run's components.
pub(crate) struct LockedBases<'r> {
    pins: &'r Pins,
    named: BTreeMap<ComponentName, Result<Vec<NamedBase>, CommandError>>,
}

impl<'r> LockedBases<'r> {
    /// Reads the Dockerfiles of those of `components` whose bases are pinned.
    pub(crate) fn read(
        components: &[&Component],
        pins: &'r Pins,
        source: &dyn SourceRepo,
        variables: &Variables,
    ) -> Self {
        let named = components
            .iter()
            .filter(|component| pins.components.contains(&component.name))
            .map(|component| (component.name.clone(), named(component, source, variables)))
            .collect();
        Self { pins, named }
    }

    /// Notes in `changes` which of the locked images moved since each component's base.
    pub(crate) fn note_moves(
        &self,
        changes: &mut ChangeSet,
        source: &dyn SourceRepo,
    ) -> Result<(), CommandError> {
        for (component, named) in &self.named {
            let Some(change) = changes.components.get_mut(component) else {
                continue;
            };
            if let Ok(named) = named {
                change.moved_bases = self.moved(change, named, source)?;
            }
        }
        Ok(())
    }

    fn moved(
        &self,
        change: &ComponentChange,
        named: &[NamedBase],
        source: &dyn SourceRepo,
    ) -> Result<Vec<MovedBase>, CommandError> {
        let Base::Commit { id, rule: _ } = &change.base else {
            return Ok(Vec::new());
        };
        if change.paths.at(LOCK_FILE).is_none() {
            return Ok(Vec::new());
        }
        // A lock that cannot be read, or is not in this clone (a partial one), locked nothing: everything counts as moved.
        let before = match source.read_at(id, &lock_path()?) {
            Err(error) if error.class == ErrorClass::NotFound => None,
            read => read?,
        };
        let before = before
            .and_then(|bytes| PipelineLock::parse(&String::from_utf8_lossy(&bytes)).ok())
            .unwrap_or_default();
        let moved = named.iter().filter_map(|base| {
            let (from, to) = (before.find(&base.key), self.pins.lock.find(&base.key));
            (from != to).then(|| MovedBase {
                reference: base.written.clone(),
                from: from.cloned(),
                to: to.cloned(),
            })
        });
        Ok(moved.collect())
    }

    /// The locked digests of the components for which `affected` says yes.
    ///
    /// # Errors
    /// All entries that are missing, at once; a Dockerfile that cannot be read.
    pub(crate) fn digests(
        self,
        affected: impl Fn(&ComponentName) -> bool,
    ) -> Result<BTreeMap<ComponentName, Vec<(String, Digest)>>, CommandError> {
        let mut digests = BTreeMap::new();
        let mut missing = Vec::new();
        for (component, named) in self.named {
            if !affected(&component) {
                continue;
            }
            let mut found = Vec::new();
            for base in named? {
                match self.pins.lock.find(&base.key) {
                    Some(digest) => found.push((base.written, digest.clone())),
                    None => missing.push(format!(
                        "{} for {} ({component})",
                        base.key.reference, base.key.platform
                    )),
                }
            }
            digests.insert(component, found);
        }
        if missing.is_empty() {
            return Ok(digests);
        }
        let mut error = CommandError::usage(format!("{LOCK_FILE} does not lock every base image"));
        for missing in missing {
            error = error.because(format!("it has no entry for {missing}"));
        }
        Err(error.hint(format!(
            "`shipline lock update` writes them; commit {LOCK_FILE}, which git must not ignore"
        )))
    }
}
