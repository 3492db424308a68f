//! One stage, instruction by instruction: its file system, its config, its history, and the layers that are to be made.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipline_engine::backend::Descriptor;

use super::copy::{Changes, Copying, Item, Rules, absolute, make_directory};
use super::mode::ModeChange;
use super::owner::{owner, user};
use super::session::Session;
use super::tree::Tree;
use crate::build::dockerfile::expand::{Lookup, expand, expand_text, expand_words};
use crate::build::dockerfile::{
    Base, Budget, CommandForm, Copy, CopyKind, CopySource, Dockerfile, DockerfileError, Globals,
    HealthcheckForm, Instruction, InstructionKind, Scope, is_remote,
};
use crate::build::ignore::Ignore;
use crate::image::{ContainerConfig, Healthcheck, History, ImageConfig, Present, environment};

/// PATH of an image that begins with nothing, as BuildKit sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A layer of a stage.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One of the base image: its blob, and its diff ID.
    Ready(Descriptor, String),
    /// One that is to be made.
    Make {
        changes: Arc<Changes>,
        /// Line of the instruction, and the instruction.
        line: usize,
        source: String,
    },
}

/// A stage as far as it has been carried out.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) tree: Tree,
    pub(super) steps: Vec<Step>,
    pub(super) config: ContainerConfig,
    pub(super) history: Vec<History>,
    pub(super) author: Option<String>,
    /// ONBUILD instructions of the base, with which a stage on it begins.
    triggers: Vec<String>,
    /// Whether this stage had a CMD: an ENTRYPOINT forgets only the base's.
    has_cmd: bool,
    scope: Arc<Scope>,
}

/// The variables that an instruction sees.
struct Variables<'a> {
    scope: &'a Scope,
    budget: &'a Budget,
}

impl Lookup for Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.scope.get(name)
    }

    fn spend(&self, characters: usize) -> Result<(), String> {
        self.budget.spend(characters)
    }
}

impl Stage {
    /// A stage that begins with nothing.
    pub(super) fn scratch() -> Self {
        let config = ContainerConfig {
            working_dir: "/".to_owned(),
            ..ContainerConfig::default()
        };
        Self::begin(Tree::default(), Vec::new(), config, Vec::new(), None)
    }

    /// A stage that begins with an earlier one. It sees the args of that one too.
    pub(super) fn on(base: &Self) -> Self {
        let stage = Self::begin(
            base.tree.clone(),
            base.steps.clone(),
            base.config.clone(),
            base.history.clone(),
            base.author.clone(),
        );
        Self {
            scope: Arc::clone(&base.scope),
            ..stage
        }
    }

    /// A stage that begins with an image.
    pub(super) fn on_image(tree: Tree, steps: Vec<Step>, config: ImageConfig) -> Self {
        let history = config.history.unwrap_or_else(|| {
            steps
                .iter()
                .map(|_| History {
                    created: None,
                    author: None,
                    created_by: None,
                    comment: None,
                    empty_layer: false,
                })
                .collect()
        });
        Self::begin(tree, steps, config.config, history, config.author)
    }

    fn begin(
        tree: Tree,
        steps: Vec<Step>,
        mut config: ContainerConfig,
        history: Vec<History>,
        author: Option<String>,
    ) -> Self {
        let triggers = std::mem::take(&mut config.on_build);
        let mut environment = environment(&config.env);
        // Every image gets a PATH, also one on a base that has none.
        if !environment.contains_key("PATH") {
            environment.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        Self {
            scope: Arc::new(Scope::new(environment)),
            tree,
            steps,
            config,
            history,
            author,
            triggers,
            has_cmd: false,
        }
    }

    /// Carries out the triggers of the base, then the stage's own instructions.
    pub(super) fn run(
        &mut self,
        index: usize,
        session: &mut Session<'_>,
    ) -> Result<(), DockerfileError> {
        let dockerfile = session.dockerfile;
        let stage = &dockerfile.stages[index];
        for text in std::mem::take(&mut self.triggers) {
            let trigger = crate::build::dockerfile::trigger(stage.line, &text, dockerfile.escape)?;
            self.instruction(index, &trigger, session)?;
        }
        for instruction in &stage.instructions {
            self.instruction(index, instruction, session)?;
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        index: usize,
        instruction: &Instruction,
        session: &mut Session<'_>,
    ) -> Result<(), DockerfileError> {
        let line = instruction.line;
        let escape = session.dockerfile.escape;
        let wrong = |why: String| DockerfileError::new(line, why);
        // What stands in one instruction sees what was before it.
        let scope = Arc::clone(&self.scope);
        let budget = &session.budget;
        let lookup = Variables {
            scope: &scope,
            budget,
        };
        let text = |text: &str| expand(text, escape, &lookup).map_err(wrong);
        let mut changes = Changes::new();
        match &instruction.kind {
            InstructionKind::Arg(args) => {
                for (name, default) in args {
                    let before = Arc::clone(&self.scope);
                    let lookup = Variables {
                        scope: &before,
                        budget,
                    };
                    Arc::make_mut(&mut self.scope)
                        .declare(name, default.as_deref(), &session.globals, |default| {
                            expand(default, escape, &lookup)
                        })
                        .map_err(wrong)?;
                }
            }
            InstructionKind::Env(pairs) => {
                for (name, value) in pairs {
                    Arc::make_mut(&mut self.scope)
                        .set(text(name)?, text(value)?)
                        .map_err(wrong)?;
                }
                self.config.env = self
                    .scope
                    .environment()
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
            }
            InstructionKind::Label(pairs) => {
                for (name, value) in pairs {
                    self.config.labels.insert(text(name)?, text(value)?);
                }
            }
            InstructionKind::Copy(copy) => {
                changes = self.copy(index, copy, instruction, session, &lookup)?;
            }
            InstructionKind::Workdir(path) => {
                let path = text(path)?;
                let path = absolute(&path, &self.config.working_dir);
                let path = match path.strip_suffix('/') {
                    Some("") | None => path,
                    Some(path) => path.to_owned(),
                };
                changes = self.workdir(&path, line, session)?;
                self.config.working_dir = path;
            }
            InstructionKind::User(user) => self.config.user = text(user)?,
            InstructionKind::Expose(ports) => {
                for word in expand_words(ports, escape, &lookup).map_err(wrong)? {
                    let ports = ports_of(&word).map_err(wrong)?;
                    // Each becomes a text of some characters: `65535/tcp`.
                    budget.spend(ports.len() * 16).map_err(wrong)?;
                    for port in ports {
                        self.config.exposed_ports.insert(port, Present {});
                    }
                }
            }
            InstructionKind::Volume(paths) => {
                for path in paths {
                    let path = text(path)?;
                    if path.trim().is_empty() {
                        return Err(wrong("VOLUME names an empty path".to_owned()));
                    }
                    self.config.volumes.insert(path, Present {});
                }
            }
            InstructionKind::StopSignal(signal) => {
                self.config.stop_signal = Some(signal_of(&text(signal)?).map_err(wrong)?);
            }
            InstructionKind::Entrypoint(form) => {
                self.config.entrypoint = Some(self.command(form));
                if !self.has_cmd {
                    self.config.cmd = None;
                }
            }
            InstructionKind::Cmd(form) => {
                self.config.cmd = Some(self.command(form));
                self.has_cmd = true;
            }
            InstructionKind::Shell(words) => self.config.shell = Some(words.clone()),
            InstructionKind::Healthcheck(form) => {
                self.config.healthcheck = Some(self.healthcheck(form));
            }
            InstructionKind::OnBuild(text, _) => self.config.on_build.push(text.clone()),
            InstructionKind::Maintainer(name) => self.author = Some(text(name)?),
            InstructionKind::Run => {
                return Err(DockerfileError::needs_engine(line, "RUN must be executed, which the embedded builder cannot")
                    .remedy("use `engine: docker` with a Docker engine, or run the command in `prepare` on the host and COPY what it makes"));
            }
        }
        self.record(instruction, changes, session);
        Ok(())
    }

    /// Adds the instruction to the history, with its layer where it has one.
    fn record(&mut self, instruction: &Instruction, changes: Changes, session: &Session<'_>) {
        let empty = changes.is_empty();
        self.history.push(History {
            created: Some(session.created.clone()),
            author: None,
            created_by: Some(instruction.source.clone()),
            comment: Some("shipline".to_owned()),
            empty_layer: empty,
        });
        if !empty {
            self.steps.push(Step::Make {
                changes: Arc::new(changes),
                line: instruction.line,
                source: instruction.source.clone(),
            });
        }
    }

    fn copy(
        &mut self,
        index: usize,
        copy: &Copy,
        instruction: &Instruction,
        session: &Session<'_>,
        lookup: &dyn Lookup,
    ) -> Result<Changes, DockerfileError> {
        let line = instruction.line;
        let escape = session.dockerfile.escape;
        let wrong = |why: String| DockerfileError::new(line, why);
        let text = |text: &str| expand(text, escape, lookup).map_err(wrong);
        if let Some(flag) = &copy.engine_flag {
            return Err(DockerfileError::needs_engine(
                line,
                format!("the embedded builder has no `{flag}`"),
            )
            .remedy("use `engine: docker` for this Dockerfile"));
        }
        let mut items = Vec::new();
        for source in &copy.sources {
            items.push(match source {
                CopySource::Path(path) => {
                    let path = text(path)?;
                    if copy.kind == CopyKind::Add && is_remote(&path) {
                        return Err(DockerfileError::needs_engine(
                            line,
                            format!("ADD cannot fetch `{path}` here"),
                        )
                        .remedy(
                            "fetch it in `prepare` on the host and COPY it, or use `engine: docker`",
                        ));
                    }
                    Item::Path(path)
                }
                CopySource::Heredoc(heredoc) => Item::Text {
                    name: heredoc.name.clone(),
                    text: if heredoc.expands {
                        expand_text(&heredoc.content, lookup).map_err(wrong)?
                    } else {
                        heredoc.content.clone()
                    }
                    .into_bytes()
                    .into(),
                },
            });
        }
        let chown = copy.chown.as_deref().map(text).transpose()?;
        let chmod = copy.chmod.as_deref().map(text).transpose()?;
        let rules = Rules {
            kind: copy.kind,
            owner: chown
                .map(|chown| owner(&chown, &self.tree, session.store, session.task))
                .transpose()
                .map_err(wrong)?,
            mode: chmod
                .map(|chmod| ModeChange::parse(&chmod))
                .transpose()
                .map_err(wrong)?,
            exclude: Ignore::of_patterns(
                &copy
                    .exclude
                    .iter()
                    .map(|pattern| text(pattern))
                    .collect::<Result<Vec<_>, _>>()?,
            )
            .map_err(wrong)?,
            parents: copy.parents,
        };
        let destination = absolute(&text(&copy.destination)?, &self.config.working_dir);
        let source = session.source(index, copy.from.as_deref(), line)?;
        let mut copying = Copying::new(&mut self.tree, rules, source.as_ref(), session.task);
        copying.run(&items, &destination).map_err(wrong)?;
        let (changes, notes) = (copying.changes, copying.notes);
        drop(source);
        for note in notes {
            session.note(line, &note);
        }
        Ok(changes)
    }

    /// Makes a working directory. As with BuildKit, what is new belongs to the user who is set.
    fn workdir(
        &mut self,
        path: &str,
        line: usize,
        session: &Session<'_>,
    ) -> Result<Changes, DockerfileError> {
        let wrong = |why: String| DockerfileError::new(line, why);
        let owner =
            user(&self.config.user, &self.tree, session.store, session.task).map_err(wrong)?;
        let changes = make_directory(&mut self.tree, path, owner.numbers).map_err(wrong)?;
        if !changes.is_empty()
            && let Some(note) = owner.note
        {
            session.note(line, &note);
        }
        Ok(changes)
    }

    fn command(&self, form: &CommandForm) -> Vec<String> {
        match form {
            CommandForm::Exec(words) => words.clone(),
            CommandForm::Shell(line) => {
                let mut words = self
                    .config
                    .shell
                    .clone()
                    .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                words.push(line.clone());
                words
            }
        }
    }

    fn healthcheck(&self, form: &HealthcheckForm) -> Healthcheck {
        match form {
            HealthcheckForm::None => Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            },
            HealthcheckForm::Command {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let mut test = Vec::new();
                match command {
                    CommandForm::Exec(words) => {
                        test.push("CMD".to_owned());
                        test.extend(words.iter().cloned());
                    }
                    CommandForm::Shell(line) => {
                        test.extend(["CMD-SHELL".to_owned(), line.clone()]);
                    }
                }
                Healthcheck {
                    test,
                    interval: *interval,
                    timeout: *timeout,
                    start_period: *start_period,
                    start_interval: *start_interval,
                    retries: *retries,
                }
            }
        }
    }
}

/// `80`, `80/udp`, `8000-8002/tcp` as the config writes them. What stands before a `:` (`[IP:]PORT:`) is checked and left out, as
/// Docker does: an image says nothing about its host.
fn ports_of(word: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{word}` is no port: write `80`, `80/udp` or `8000-8002`");
    let (host, container) = match word.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, word),
    };
    let (ports, protocol) = match container.split_once('/') {
        Some((ports, "")) => (ports, "tcp".to_owned()),
        Some((ports, protocol)) => (ports, protocol.to_ascii_lowercase()),
        None => (container, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        Ok((first, last))
    };
    let (first, last) = range(ports)?;
    if let Some(host) = host {
        let (address, port) = match host.rsplit_once(':') {
            Some((address, port)) => (Some(address), port),
            None => (None, host),
        };
        let address = address.map(|it| it.trim_start_matches('[').trim_end_matches(']'));
        if let Some(address) = address
            && !address.is_empty()
            && address.parse::<std::net::IpAddr>().is_err()
        {
            return Err(format!("`{word}` begins with no IP address"));
        }
        if !port.is_empty() {
            let (host_first, host_last) = range(port)?;
            if first != last && host_last - host_first != last - first {
                return Err(format!("`{word}` has two ranges of different lengths"));
            }
        }
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// A signal's number, or its name with or without SIG.
fn signal_of(text: &str) -> Result<String, String> {
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let base = name.split(['+', '-']).next().unwrap_or_default();
    let known = NAMES.contains(&name)
        || (matches!(base, "RTMIN" | "RTMAX")
            && name[base.len()..]
                .trim_start_matches(['+', '-'])
                .parse::<u8>()
                .is_ok());
    if known
        || text
            .parse::<u8>()
            .is_ok_and(|number| (1..=64).contains(&number))
    {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no signal"))
    }
}

/// Images that the needed stages refer to, with the line of the first mention, in order.
pub(crate) fn references(
    dockerfile: &Dockerfile,
    needed: &[usize],
    globals: &Globals,
) -> Result<Vec<(String, usize)>, DockerfileError> {
    let mut seen = BTreeMap::new();
    let mut found = Vec::new();
    let mut add = |reference: String, line: usize| {
        if seen.insert(reference.clone(), line).is_none() {
            found.push((reference, line));
        }
    };
    for index in needed {
        let stage = &dockerfile.stages[*index];
        if let Base::Image(reference) = dockerfile.base(*index, globals)? {
            add(reference, stage.line);
        }
        for instruction in &stage.instructions {
            if let InstructionKind::Copy(Copy {
                from: Some(from), ..
            }) = &instruction.kind
                && let Base::Image(reference) =
                    dockerfile.copy_base(*index, from, instruction.line)?
            {
                add(reference, instruction.line);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(ports_of("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports_of("80/UDP").unwrap(), ["80/udp"]);
        assert_eq!(
            ports_of("8000-8002").unwrap(),
            ["8000/tcp", "8001/tcp", "8002/tcp"]
        );
        for (word, expected) in [
            ("80/", "80/tcp"),
            ("3000:3001", "3001/tcp"),
            ("3000:3001/UDP", "3001/udp"),
            ("10.0.0.1:3000:3001/sctp", "3001/sctp"),
            ("10.0.0.1::3001", "3001/tcp"),
            ("[::1]:3000:3001", "3001/tcp"),
            ("::1:3000:3001", "3001/tcp"),
            ("[2001:db8::7]::443", "443/tcp"),
            ("::::80", "80/tcp"),
            ("0.0.0.0:8000-8001:90", "90/tcp"),
        ] {
            assert_eq!(ports_of(word).unwrap(), [expected], "{word}");
        }
        assert_eq!(ports_of("1.2.3.4:1-2:8-9/tcp").unwrap(), ["8/tcp", "9/tcp"]);
        for bad in [
            "",
            "x",
            "80/x",
            "2-1",
            "70000",
            "-1",
            "1:",
            "1:/tcp",
            "0.0.0.0:1-2:",
            "localhost:1:2",
            "x:2",
            "1-3:4-5",
        ] {
            assert!(ports_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1"] {
            assert!(signal_of(good).is_ok(), "{good}");
        }
        for bad in ["", "SIGFOO", "0", "65", "SIG", "RTMIN+x"] {
            assert!(signal_of(bad).is_err(), "{bad}");
        }
    }
}
