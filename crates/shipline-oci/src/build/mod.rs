//! Builders of images, what they share (Dockerfiles, ignore files, patterns), and which of them builds what.

mod bases;
mod caches;
pub mod docker;
pub mod dockerfile;
pub(crate) mod embedded;
mod gzip;
pub mod ignore;
pub(crate) mod pattern;
mod recipe;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use shipline_engine::backend::{BuildRequest, ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_engine::task::TaskContext;
use shipline_model::config::{BuildEngine, Platform};
use shipline_model::value::Value;

pub use bases::{BaseChoice, BaseImages};
pub use embedded::EmbeddedBuilder;
pub use pattern::BadPattern;

use dockerfile::images::needed_by_engine;
use dockerfile::{
    Base, Copy, CopySource, Dockerfile, DockerfileError, ErrorKind, Globals, Instruction,
    InstructionKind,
};
use embedded::Failure;
use recipe::{read_text, shown, wrong};

/// Which builder a Dockerfile needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedBuilder {
    /// Nothing has to be executed: it is assembled in this process.
    Embedded,
    /// A Docker engine.
    Docker {
        /// Why, for people ("RUN must be executed").
        why: String,
        /// 1-based line of the Dockerfile.
        line: usize,
    },
}

/// Decides by the Dockerfile alone (and the stage to build), so that every machine decides alike.
///
/// # Errors
/// Where the Dockerfile is wrong or has no such stage.
pub fn plan_builder(text: &str, target: Option<&str>) -> Result<PlannedBuilder, DockerfileError> {
    let syntax = Dockerfile::syntax(text)?;
    if let Some((syntax, line)) = &syntax
        && !is_usual_syntax(syntax)
    {
        return Ok(PlannedBuilder::Docker {
            why: format!("`# syntax={syntax}` is a language of its own"),
            line: *line,
        });
    }
    let dockerfile = match Dockerfile::parse(text) {
        Ok(dockerfile) => dockerfile,
        // The frontend that the line names may be newer than what we know.
        Err(error) if error.kind == ErrorKind::Newer && syntax.is_some() => {
            return Ok(PlannedBuilder::Docker {
                why: error.why,
                line: error.line,
            });
        }
        Err(error) => return Err(error),
    };
    let target = dockerfile.target(target)?;
    // A base that only args can name decides nothing: it is an image of some registry either way.
    let none = BTreeMap::new();
    let globals = Globals::new(&dockerfile, &none, &any_platform());
    let stages = globals
        .as_ref()
        .ok()
        .and_then(|globals| dockerfile.needed(target, globals).ok())
        .unwrap_or_else(|| (0..dockerfile.stages.len()).collect());
    let inherited = stages.iter().filter_map(|index| {
        match dockerfile.base(*index, globals.as_ref().ok()?).ok()? {
            Base::Stage(base) => Some(dockerfile.triggers(base)),
            Base::Scratch | Base::Image(_) => None,
        }
    });
    let found = stages
        .iter()
        .flat_map(|index| &dockerfile.stages[*index].instructions)
        .chain(inherited.flatten())
        .find_map(|instruction| needs_engine(instruction).map(|why| (why, instruction.line)));
    Ok(match found {
        Some((why, line)) => PlannedBuilder::Docker { why, line },
        None => PlannedBuilder::Embedded,
    })
}

/// What is wrong with a Dockerfile, for people: the error, and the lines around it. `name` is the file's name; `text` must be one
/// that may be shown.
#[must_use]
pub fn describe(name: &str, text: &str, error: &DockerfileError) -> String {
    format!("{error}\n{}", recipe::excerpt(name, text, error.line))
}

fn needs_engine(instruction: &Instruction) -> Option<String> {
    match &instruction.kind {
        InstructionKind::Run => Some("RUN must be executed".to_owned()),
        InstructionKind::Copy(Copy {
            engine_flag: Some(flag),
            ..
        }) => Some(format!("ADD has `{flag}`")),
        InstructionKind::Copy(Copy { sources, .. }) => sources.iter().find_map(|source| match source {
            CopySource::Path(path) if dockerfile::is_remote(path) => {
                Some(format!("ADD fetches `{path}`"))
            }
            CopySource::Path(_) | CopySource::Heredoc(_) => None,
        }),
        InstructionKind::Arg(_)
        | InstructionKind::Env(_)
        | InstructionKind::Label(_)
        | InstructionKind::Workdir(_)
        | InstructionKind::User(_)
        | InstructionKind::Expose(_)
        | InstructionKind::Volume(_)
        | InstructionKind::StopSignal(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Cmd(_)
        | InstructionKind::Shell(_)
        | InstructionKind::Healthcheck(_)
        // A trigger runs in the images built on this one.
        | InstructionKind::OnBuild(..)
        | InstructionKind::Maintainer(_) => None,
    }
}

fn is_usual_syntax(syntax: &str) -> bool {
    let name = syntax.strip_prefix("docker.io/").unwrap_or(syntax);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

pub(crate) fn any_platform() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        variant: None,
    }
}

/// The images of registries that a build refers to in FROM, `COPY --from` and `RUN --mount`, as they are written with their
/// args put in, with the line of the first mention. Stages that `target` does not need are left out.
///
/// # Errors
/// Where the Dockerfile is wrong, or a name is empty once its args are put in.
pub fn base_references(
    text: &str,
    target: Option<&str>,
    args: &BTreeMap<String, Value>,
    platform: &Platform,
) -> Result<Vec<(String, usize)>, DockerfileError> {
    let dockerfile = Dockerfile::parse(text)?;
    let target = dockerfile.target(target)?;
    let globals = Globals::new(&dockerfile, &exposed(args), platform)?;
    let (needed, mounted) = needed_by_engine(text, &dockerfile, target, &globals)?;
    let mut references = embedded::references(&dockerfile, &needed, &globals)?;
    for (reference, line) in mounted {
        if references.iter().all(|(known, _)| *known != reference) {
            references.push((reference, line));
        }
    }
    Ok(references)
}

/// The same for a component whose base images are locked: each must be one for the image's own platform, and its name must not
/// hold a secret, which would stand in the lock.
///
/// # Errors
/// As [`base_references`], and where an image cannot be locked, or the frontend that BuildKit is to pull is free to move.
pub fn lockable_references(
    text: &str,
    target: Option<&str>,
    args: &BTreeMap<String, Value>,
    platform: &Platform,
    engine: BuildEngine,
) -> Result<Vec<(String, usize)>, DockerfileError> {
    refuse_floating_frontend(text, target, engine)?;
    let references = base_references(text, target, args, platform)?;
    let line = |image: &str| {
        let found = references.iter().find(|(reference, _)| reference == image);
        found.map_or(1, |(_, line)| *line)
    };
    for (image, wanted) in platforms(text, target, args, platform)? {
        if wanted != platform.to_string() {
            return Err(DockerfileError::new(
                line(&image),
                format!("`{image}` is wanted for {wanted}, and only bases for {platform} can be locked"),
            )
            .remedy("leave `--platform` out, or take `lock` out of the image and pin this base by digest"));
        }
    }
    for (name, value) in args {
        if let Value::Secret(secret) = value
            && !secret.expose().is_empty()
            && let Some((_, line)) = references
                .iter()
                .find(|(reference, _)| reference.contains(secret.expose()))
        {
            return Err(DockerfileError::new(
                *line,
                format!("the arg {name} is a secret, and the name of a locked base would tell it"),
            )
            .remedy("give the arg as ${env.…}, or write the name of the base out"));
        }
    }
    Ok(references)
}

/// The frontend of `# syntax=` is an image as well, which reads the Dockerfile: what it makes of the same text is locked only
/// where its digest is written. It is for the engine's machine and not for the image's platform, so `pipeline.lock` has no place
/// for it. Where nothing has to be executed nobody pulls it.
fn refuse_floating_frontend(
    text: &str,
    target: Option<&str>,
    engine: BuildEngine,
) -> Result<(), DockerfileError> {
    let Some((syntax, line)) = Dockerfile::parse(text)?.syntax else {
        return Ok(());
    };
    let pulled = match engine {
        BuildEngine::Embedded => false,
        BuildEngine::Docker => true,
        BuildEngine::Auto => plan_builder(text, target)? != PlannedBuilder::Embedded,
    };
    if !pulled || syntax.contains("@sha256:") {
        return Ok(());
    }
    Err(DockerfileError::new(
        line,
        format!("`# syntax={syntax}` names an image that can move, and the base images are locked"),
    )
    .remedy(format!(
        "leave the line out (BuildKit then reads the Dockerfile itself), or write the digest: `# syntax={syntax}@sha256:…`; `docker buildx imagetools inspect {syntax}` shows it"
    )))
}

/// The images whose FROM says for which platform they are wanted, with that platform.
fn platforms(
    text: &str,
    target: Option<&str>,
    args: &BTreeMap<String, Value>,
    platform: &Platform,
) -> Result<Vec<(String, String)>, DockerfileError> {
    let dockerfile = Dockerfile::parse(text)?;
    let target = dockerfile.target(target)?;
    let globals = Globals::new(&dockerfile, &exposed(args), platform)?;
    let (needed, _) = needed_by_engine(text, &dockerfile, target, &globals)?;
    dockerfile::images::with_platform(&dockerfile, &needed, &globals)
}

fn exposed(args: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    args.iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

/// All builders as one: each build goes to the one that the component asks for, or that its Dockerfile needs.
#[derive(Clone)]
pub struct Builders {
    embedded: EmbeddedBuilder,
    docker: Option<Arc<dyn ImageBuilder>>,
}

impl Builders {
    /// With the embedded builder, and a Docker engine where there is one.
    #[must_use]
    pub fn new(embedded: EmbeddedBuilder, docker: Option<Arc<dyn ImageBuilder>>) -> Self {
        Self { embedded, docker }
    }
}

#[async_trait]
impl ImageBuilder for Builders {
    async fn build(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, BackendError> {
        if !request.caches.is_empty()
            && let Ok(dockerfile) = Dockerfile::parse(&read_text(request)?)
        {
            // One that cannot be read is refused by whoever builds it.
            caches::refuse_copies(request, &dockerfile).map_err(|error| wrong(request, error))?;
        }
        let why = match request.engine {
            BuildEngine::Embedded => return self.embedded.build(request, store, task).await,
            BuildEngine::Docker => "the component says `engine: docker`".to_owned(),
            BuildEngine::Auto => {
                let planned = plan_builder(&read_text(request)?, request.target.as_deref())
                    .map_err(|error| wrong(request, error))?;
                let at = |line: usize, why: &str| format!("{} line {line}: {why}", shown(request));
                match planned {
                    PlannedBuilder::Docker { why, line } => at(line, &why),
                    // What a base or an arg brings is known only on the way.
                    PlannedBuilder::Embedded => {
                        match self.embedded.attempt(request, store, task).await {
                            Ok(built) => return Ok(built),
                            Err(Failure::Stopped(error)) => return Err(error),
                            Err(Failure::NeedsEngine(error)) => {
                                let why = at(error.line, &error.why);
                                task.note(format!("needs an engine: {why}")).await;
                                why
                            }
                        }
                    }
                }
            }
        };
        match &self.docker {
            Some(docker) => docker.build(request, store, task).await,
            None => Err(BackendError::new(
                ErrorClass::Unavailable,
                format!("build {} with a Docker engine", request.id),
            )
            .because(format!("{why}, and no Docker engine is there"))
            .hint("start Docker or Podman (DOCKER_HOST says where), or do the work in `prepare` on the host and COPY what it makes: then no engine is needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, target: Option<&str>) -> Option<usize> {
        match plan_builder(text, target).unwrap() {
            PlannedBuilder::Embedded => None,
            PlannedBuilder::Docker { line, .. } => Some(line),
        }
    }

    #[test]
    fn the_dockerfile_alone_decides() {
        for (text, target, expected) in [
            ("FROM scratch\nCOPY a /\nCMD [\"/a\"]", None, None),
            ("FROM node:22\nCOPY a /\nUSER 1", None, None),
            ("FROM node:22\n\nRUN npm ci", None, Some(3)),
            ("FROM a\nRUN x\nFROM scratch\nCOPY b /", None, None),
            (
                "FROM a AS b\nRUN x\nFROM scratch\nCOPY --from=b b /",
                None,
                Some(2),
            ),
            ("FROM a AS b\nRUN x\nFROM b\nCOPY c /", None, Some(2)),
            ("FROM a AS b\nCOPY x /\nFROM b\nRUN x", Some("b"), None),
            ("FROM a\nADD https://x/y /", None, Some(2)),
            ("FROM a\nADD y.tar /", None, None),
            ("FROM scratch\nONBUILD RUN x", None, None),
            (
                "FROM scratch AS a\nONBUILD RUN x\nFROM a\nCOPY b /",
                None,
                Some(2),
            ),
            (
                "# syntax=docker/dockerfile:1.7-labs\nFROM scratch",
                None,
                None,
            ),
            ("# syntax=example.com/own:1\nFROM scratch", None, Some(1)),
            ("ARG B\nFROM $B\nRUN x", None, Some(3)),
        ] {
            assert_eq!(line(text, target), expected, "{text}");
        }
        assert!(plan_builder("FROM a AS b", Some("c")).is_err());
    }

    #[test]
    fn what_cannot_be_locked_is_said() {
        let secret = Value::Secret(shipline_model::value::Secret::new("hidden"));
        let args = BTreeMap::from([("T".to_owned(), secret)]);
        let check = |text: &str, expected: Option<usize>| {
            let auto = BuildEngine::Auto;
            let found = lockable_references(text, None, &args, &any_platform(), auto);
            assert_eq!(found.err().map(|error| error.line), expected, "{text}");
        };
        check("FROM a", None);
        check("FROM --platform=$TARGETPLATFORM a", None);
        check("ARG T\nFROM --platform=linux/arm64 a", Some(2));
        check("ARG T\nFROM r.io/$T", Some(2));
        check("ARG T\nFROM --platform=linux/s390x a AS b\nFROM c", None);
    }

    #[test]
    fn a_frontend_that_can_move_locks_nothing() {
        let check = |text: &str, engine: BuildEngine, expected: Option<usize>| {
            let none = BTreeMap::new();
            let found = lockable_references(text, None, &none, &any_platform(), engine);
            assert_eq!(found.err().map(|error| error.line), expected, "{text}");
        };
        let run = "FROM a\nRUN x";
        let (auto, docker, embedded) = (
            BuildEngine::Auto,
            BuildEngine::Docker,
            BuildEngine::Embedded,
        );
        check(run, auto, None);
        check(
            &format!("# syntax=docker/dockerfile:1\n{run}"),
            auto,
            Some(1),
        );
        check(
            &format!("# check=error=true\n# syntax=r.io/own:1\n{run}"),
            auto,
            Some(2),
        );
        let digest = "0".repeat(64);
        let pinned = format!("# syntax=docker/dockerfile:1@sha256:{digest}\n{run}");
        check(&pinned, auto, None);
        // Nobody pulls it.
        check("# syntax=docker/dockerfile:1\nFROM a\nCOPY a /", auto, None);
        check(
            "# syntax=docker/dockerfile:1\nFROM a\nCOPY a /",
            embedded,
            None,
        );
        check(
            "# syntax=docker/dockerfile:1\nFROM a\nCOPY a /",
            docker,
            Some(1),
        );
    }

    #[test]
    fn base_images_are_named_with_their_args() {
        let args = BTreeMap::from([("V".to_owned(), Value::Public("22".to_owned()))]);
        let text = "ARG V=20\nARG REG=docker.io\nFROM ${REG}/node:${V} AS build\nFROM unused\nFROM scratch\n\
            COPY --from=build /x /\nCOPY --from=busybox:1 /bin/sh /\nCOPY --from=0 /y /\n";
        assert_eq!(
            base_references(text, None, &args, &any_platform()).unwrap(),
            [
                ("docker.io/node:22".to_owned(), 3),
                ("busybox:1".to_owned(), 7)
            ]
        );
        for (text, line) in [
            ("FROM $X", 1),
            ("FROM a\nCOPY --from=3 a b", 2),
            ("FROM a\nCOPY --from=$x a b", 2),
            ("FROM scratch\nCOPY --from=scratch a b", 2),
            ("FROM a AS b\nCOPY --from=b a b", 2),
        ] {
            let error = base_references(text, None, &args, &any_platform()).unwrap_err();
            assert_eq!(error.line, line, "{text}");
        }
    }
}
