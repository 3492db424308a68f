//! Dockerfiles, read by Docker's rules: stages, their instructions, and what they depend on.

mod error;
pub(crate) mod expand;
pub(crate) mod images;
mod instruction;
pub(crate) mod lexer;
mod scope;
mod shell_pattern;
mod text;
pub(crate) mod words;

use std::collections::BTreeSet;

pub use error::{DockerfileError, ErrorKind};
pub use instruction::{
    CommandForm, Copy, CopyKind, CopySource, HealthcheckForm, Instruction, InstructionKind, Parents,
};
pub(crate) use instruction::{is_remote, trigger};
pub use lexer::Heredoc;
pub(crate) use scope::{Budget, Globals, Scope};
pub(crate) use text::is_utf16;

use instruction::nearest;
use lexer::LogicalLine;

/// How many stages a Dockerfile may have. Each holds a file system and a history of its own.
const MAX_STAGES: usize = 250;

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character.
    pub escape: char,
    /// `# syntax=`, with its line.
    pub syntax: Option<(String, usize)>,
    /// `ARG`s before the first FROM, with their lines.
    pub globals: Vec<(String, Option<String>, usize)>,
    /// Its stages, in order; at least one.
    pub stages: Vec<Stage>,
}

/// A stage: a FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Line of its FROM.
    pub line: usize,
    /// The FROM as it is written.
    pub source: String,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// `AS name`, as it is written.
    pub written_name: Option<String>,
    /// What it begins with, not yet expanded.
    pub base: String,
    /// `--platform`, not yet expanded.
    pub platform: Option<String>,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
}

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// `FROM scratch`.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image of a registry.
    Image(String),
}

impl Dockerfile {
    /// How many bytes a Dockerfile may have.
    pub const MAX_BYTES: usize = text::MAX_BYTES;

    /// The text of a Dockerfile's bytes.
    ///
    /// # Errors
    /// Where it has more than 1 MiB, or is written in UTF-16.
    pub fn decode(bytes: &[u8]) -> Result<String, DockerfileError> {
        text::decode(bytes)
    }

    /// `# syntax=` of a Dockerfile, with its line: the frontend that reads it, which may know another language than we do.
    ///
    /// # Errors
    /// As [`Dockerfile::parse`], for the lines at the top.
    pub fn syntax(text: &str) -> Result<Option<(String, usize)>, DockerfileError> {
        lexer::syntax(text)
    }

    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and what to write instead.
    pub fn parse(text: &str) -> Result<Self, DockerfileError> {
        let (directives, lines) = lexer::lex(text)?;
        let escape = directives.escape;
        let mut dockerfile = Self {
            escape,
            syntax: lexer::syntax(text)?,
            globals: Vec::new(),
            stages: Vec::new(),
        };
        for logical in &lines {
            if logical.keyword == "FROM" {
                if dockerfile.stages.len() == MAX_STAGES {
                    return Err(DockerfileError::new(
                        logical.line,
                        format!("there are more than {MAX_STAGES} stages"),
                    ));
                }
                dockerfile.stages.push(stage(logical, escape)?);
                continue;
            }
            let instruction = instruction::parse(logical, escape)?;
            match (dockerfile.stages.last_mut(), instruction.kind) {
                (Some(stage), kind) => stage.instructions.push(Instruction {
                    kind,
                    ..instruction
                }),
                (None, InstructionKind::Arg(args)) => {
                    dockerfile.globals.extend(
                        args.into_iter()
                            .map(|(name, default)| (name, default, instruction.line)),
                    );
                }
                (None, _) => {
                    return Err(DockerfileError::new(
                        instruction.line,
                        format!("{} stands before the first FROM", logical.written),
                    )
                    .remedy("only ARG may stand there: begin with FROM"));
                }
            }
        }
        if dockerfile.stages.is_empty() {
            return Err(DockerfileError::new(1, "there is no FROM")
                .remedy("begin with `FROM scratch` or the image to build on"));
        }
        Ok(dockerfile)
    }

    /// The stage to build: `target` by name or number, the last one where absent.
    ///
    /// # Errors
    /// Where there is no such stage, naming those that are there.
    pub fn target(&self, target: Option<&str>) -> Result<usize, DockerfileError> {
        let last = self.stages.len() - 1;
        let Some(target) = target else {
            return Ok(last);
        };
        self.stage_named(target, self.stages.len()).ok_or_else(|| {
            let names: Vec<&str> = self
                .stages
                .iter()
                .filter_map(|stage| stage.written_name.as_deref())
                .collect();
            DockerfileError::new(1, format!("there is no stage `{target}`")).remedy(
                match self.stage_like(target) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if names.is_empty() => {
                        "no stage has a name: write `FROM … AS name`".to_owned()
                    }
                    None => format!("the stages are: {}", names.join(", ")),
                },
            )
        })
    }

    /// The stage that was probably meant with a name that is none.
    pub(crate) fn stage_like(&self, name: &str) -> Option<&str> {
        let lower = name.to_ascii_lowercase();
        let names: Vec<&str> = self
            .stages
            .iter()
            .filter_map(|stage| stage.name.as_deref())
            .collect();
        let near = nearest(&lower, &names)?;
        self.stages
            .iter()
            .find(|stage| stage.name.as_deref() == Some(near))?
            .written_name
            .as_deref()
    }

    /// An earlier stage than `before`, by name (the last of that name) or number.
    pub(crate) fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        self.stages[..before]
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&lower))
            .or_else(|| name.parse().ok().filter(|index| *index < before))
    }

    /// What a stage begins with.
    ///
    /// # Errors
    /// Where its name does not expand, or to nothing.
    pub(crate) fn base(&self, index: usize, globals: &Globals) -> Result<Base, DockerfileError> {
        let stage = &self.stages[index];
        let name = expand::expand(&stage.base, self.escape, &|name: &str| globals.get(name))
            .map_err(|why| DockerfileError::new(stage.line, why))?;
        if name.is_empty() {
            return Err(DockerfileError::new(
                stage.line,
                format!(
                    "the base `{}` is empty once its args are put in",
                    stage.base
                ),
            )
            .remedy(
                "give the ARG before the first FROM a default, or set it under `args` of the image",
            ));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        let lower = name.to_ascii_lowercase();
        let earlier = self.stages[..index]
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&lower));
        Ok(earlier.map_or(Base::Image(name), Base::Stage))
    }

    /// Where a `COPY --from=` of stage `index` copies from.
    ///
    /// # Errors
    /// Where it names the stage itself or a later one, or holds a variable.
    pub(crate) fn copy_base(
        &self,
        index: usize,
        from: &str,
        line: usize,
    ) -> Result<Base, DockerfileError> {
        if from.contains('$') {
            return Err(DockerfileError::new(
                line,
                format!("variables are not expanded in `--from={from}`"),
            )
            .remedy("name a stage with `FROM ${…} AS name` and copy from that"));
        }
        if let Some(stage) = self.stage_named(from, index) {
            return Ok(Base::Stage(stage));
        }
        let later = self.stage_named(from, self.stages.len()).is_some();
        if later || from.bytes().all(|b| b.is_ascii_digit()) {
            return Err(DockerfileError::new(
                line,
                format!("`--from={from}` is not an earlier stage"),
            )
            .remedy("a stage can copy only from stages above it"));
        }
        if from == "scratch" {
            return Err(DockerfileError::new(
                line,
                "nothing can be copied from scratch",
            ));
        }
        Ok(Base::Image(from.to_owned()))
    }

    /// The stages that `target` needs, itself included, in order.
    ///
    /// # Errors
    /// As [`Dockerfile::base`] and [`Dockerfile::copy_base`].
    pub(crate) fn needed(
        &self,
        target: usize,
        globals: &Globals,
    ) -> Result<Vec<usize>, DockerfileError> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !needed.insert(index) {
                continue;
            }
            if let Base::Stage(base) = self.base(index, globals)? {
                open.push(base);
                // Triggers of the base run in this stage, and copy by what this stage can see.
                for (from, line) in copies(self.triggers(base)) {
                    if let Base::Stage(from) = self.copy_base(index, from, line)? {
                        open.push(from);
                    }
                }
            }
            for (from, line) in copies(self.stages[index].instructions.iter()) {
                if let Base::Stage(from) = self.copy_base(index, from, line)? {
                    open.push(from);
                }
            }
        }
        Ok(needed.into_iter().collect())
    }

    /// The ONBUILD triggers that stage `index` hands to a stage built on it. Those that it got from its own base are used up.
    pub(crate) fn triggers(&self, index: usize) -> impl Iterator<Item = &Instruction> {
        self.stages[index]
            .instructions
            .iter()
            .filter_map(|instruction| {
                if let InstructionKind::OnBuild(_, trigger) = &instruction.kind {
                    Some(trigger.as_ref())
                } else {
                    None
                }
            })
    }
}

fn copies<'a>(
    instructions: impl Iterator<Item = &'a Instruction>,
) -> impl Iterator<Item = (&'a str, usize)> {
    instructions.filter_map(|instruction| {
        if let InstructionKind::Copy(copy) = &instruction.kind {
            copy.from.as_deref().map(|from| (from, instruction.line))
        } else {
            None
        }
    })
}

fn stage(logical: &LogicalLine, escape: char) -> Result<Stage, DockerfileError> {
    let line = logical.line;
    let written = &logical.written;
    let (flags, rest) = words::flags(&logical.rest, escape);
    let mut platform = None;
    for flag in flags {
        if flag.name != "platform" {
            return Err(DockerfileError::new(
                line,
                format!("{written} has no flag `--{}`", flag.name),
            )
            .remedy("known is `--platform`")
            .newer());
        }
        if platform.is_some() {
            return Err(DockerfileError::new(line, "`--platform` is there twice"));
        }
        platform = flag.value;
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => {
            return Err(DockerfileError::new(
                line,
                format!("{written} takes an image, or an image and a name"),
            )
            .remedy("write `FROM image` or `FROM image AS name`"));
        }
    };
    let written_name = name.map(str::to_owned);
    let name = name.map(str::to_ascii_lowercase);
    if let (Some(name), Some(written_name)) = (&name, &written_name) {
        let good = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
            });
        if !good || name == "scratch" || name == "context" {
            return Err(DockerfileError::new(
                line,
                format!("`{written_name}` cannot name a stage"),
            )
            .remedy(
                "a stage's name begins with a letter and has letters, digits, `-`, `_` and `.`",
            ));
        }
    }
    Ok(Stage {
        line,
        source: logical.source.clone(),
        name,
        written_name,
        base: base.to_owned(),
        platform,
        instructions: Vec::new(),
    })
}
