//! Commands as a person would type them again.

use std::path::{Path, PathBuf};

use shipline_engine::folder::Place;
use shipline_engine::record;
use shipline_model::name::StageName;
use shipline_model::plan::{Plan, TaskId};
use shipline_model::stage_kind::Nature;
use shipline_report::Signposts;

use crate::secrets;
use crate::settings::Settings;

/// How the program was called, for messages that name a command to repeat.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What a person types: `shipline` or `cargo xtask`.
    pub(crate) name: &'static str,
    /// The `-C` of the command line.
    pub(crate) directory: Option<PathBuf>,
    /// The `--state` of the command line.
    pub(crate) state: Option<PathBuf>,
    /// The command line as it was typed, without the program's name.
    pub(crate) arguments: Vec<String>,
}

impl Program {
    /// The words of the whole command, as a person typed them.
    pub(crate) fn words(&self) -> Vec<String> {
        let program = self.name.split(' ').map(str::to_owned);
        program.chain(self.arguments.iter().cloned()).collect()
    }

    /// The whole command, as a person types it into a POSIX shell.
    pub(crate) fn typed(&self) -> String {
        joined(&self.words())
    }

    /// `shipline -C DIR pipeline`, and what stood behind `pipeline` in another command.
    fn pipeline(&self, rest: &[String]) -> String {
        let mut words: Vec<String> = self.name.split(' ').map(str::to_owned).collect();
        if let Some(directory) = &self.directory {
            words.extend(["-C".to_owned(), directory.display().to_string()]);
        }
        if let Some(state) = &self.state {
            words.extend(["--state".to_owned(), state.display().to_string()]);
        }
        words.push("pipeline".to_owned());
        words.extend(rest.iter().cloned());
        joined(&words)
    }
}

/// Flags of the whole program that have a value.
const GLOBAL: &[&str] = &["-C", "--directory", "--state"];

/// Flags that name components.
const COMPONENTS: &[&str] = &["-c", "--component"];

/// Flags that name stages.
const STAGES: &[&str] = &["--only"];

/// The words of a command that begins a pipeline, behind `pipeline` and without flags of the whole program. They are what a
/// person selected, in the person's own words.
pub(crate) fn selected(command: &str) -> Vec<String> {
    let words = without(&split(command), GLOBAL);
    let behind = words.iter().position(|word| word == "pipeline");
    let behind = behind.map_or(words.len(), |position| position + 1);
    words[behind..].to_vec()
}

/// The words without these flags and their values: `--flag VALUE`, `--flag=VALUE`, `-fVALUE`.
fn without(words: &[String], flags: &[&str]) -> Vec<String> {
    apart(words, flags).0
}

/// The words without these flags, and the values of those: what stands between commas is a value of its own.
fn apart(words: &[String], flags: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut left, mut values) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = if flags.contains(&word.as_str()) {
            words.next().map(String::as_str)
        } else {
            flags.iter().find_map(|flag| {
                let rest = word.strip_prefix(flag)?;
                match flag.starts_with("--") {
                    true => rest.strip_prefix('='),
                    false => Some(rest.strip_prefix('=').unwrap_or(rest)),
                }
            })
        };
        match value {
            Some(value) => values.extend(value.split(',').map(str::to_owned)),
            None if flags.contains(&word.as_str()) => {}
            None => left.push(word.clone()),
        }
    }
    (left, values)
}

/// The commands that repeat a run and its tasks.
pub(crate) struct Again {
    /// The run, as it was typed.
    whole: String,
    /// What was typed behind `pipeline`, without what names components and stages.
    wide: Vec<String>,
    /// The components that were named.
    components: Vec<String>,
    /// The stages that were named.
    stages: Vec<String>,
    program: Program,
    builds: Vec<StageName>,
    scans: Vec<StageName>,
}

impl Again {
    /// Of a run that was asked for like this.
    pub(crate) fn of(plan: &Plan, program: &Program) -> Self {
        let typed = program.typed();
        Self::with(typed.clone(), selected(&typed), plan, program)
    }

    /// Of a recorded run. Its component counts as changed, whatever was deployed since.
    pub(crate) fn of_record(command: &str, plan: &Plan, program: &Program) -> Self {
        let mut rest = selected(command);
        let whole = program.pipeline(&rest);
        let asks = |word: &String| {
            ["--all", "--no-cache", "--base"].contains(&word.as_str())
                || word.starts_with("--base=")
        };
        if !rest.iter().any(asks) {
            rest.push("--all".to_owned());
        }
        Self::with(whole, rest, plan, program)
    }

    /// Of a run of which no more is known than its command.
    pub(crate) fn as_typed(whole: String, program: &Program) -> Self {
        Self {
            wide: selected(&whole),
            components: Vec::new(),
            stages: Vec::new(),
            whole,
            program: program.clone(),
            builds: Vec::new(),
            scans: Vec::new(),
        }
    }

    fn with(whole: String, rest: Vec<String>, plan: &Plan, program: &Program) -> Self {
        let stages = |is: fn(&Nature) -> bool| {
            let tasks = plan.tasks.iter().filter(|task| is(&task.kind.nature()));
            let mut names: Vec<StageName> = tasks.map(|task| task.id.stage.clone()).collect();
            names.dedup();
            names
        };
        let (rest, components) = apart(&rest, COMPONENTS);
        let (wide, named) = apart(&rest, STAGES);
        Self {
            whole,
            wide,
            components,
            stages: named,
            program: program.clone(),
            builds: stages(Nature::makes_images),
            scans: stages(Nature::judges_images),
        }
    }

    /// The command that repeats one task and publishes nothing; for a task of the whole run, all of it. What was typed is only
    /// narrowed down, and stays as it is where it was as narrow.
    fn task(&self, task: &TaskId) -> String {
        let Some(component) = &task.component else {
            return self.whole.clone();
        };
        let mut stages = vec![task.stage.as_str()];
        if self.scans.contains(&task.stage) {
            // What is scanned has to be built first, if it is not there.
            stages.splice(0..0, self.builds.iter().map(AsRef::as_ref));
        }
        if self.components == [component.as_str()] && self.stages == stages {
            return self.whole.clone();
        }
        let mut rest = self.wide.clone();
        for word in [
            "--component",
            component.as_str(),
            "--only",
            &stages.join(","),
        ] {
            rest.push(word.to_owned());
        }
        self.program.pipeline(&rest)
    }

    /// Where a person goes from a task that failed.
    pub(crate) fn signposts(self, state: &Place, settings: &Settings) -> Signposts {
        let (state, from) = (state.clone(), settings.started_in.clone());
        Signposts {
            repeat: Box::new(move |_, task| secrets::mask(self.task(task))),
            log: Box::new(move |run, task| {
                secrets::mask(shown(record::log_path(&state, run, task).path(), &from))
            }),
        }
    }
}

/// Words as one command of a POSIX shell.
fn joined(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// A word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:@%+=^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a command that consists of [`quoted`] ones.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut is_quoted, mut escaped) = (false, false);
    for character in command.chars() {
        match character {
            _ if std::mem::take(&mut escaped) => word.get_or_insert_default().push(character),
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if !is_quoted => escaped = true,
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// A path as short as it can be typed in the folder `from`.
pub(crate) fn shown(path: &Path, from: &Path) -> String {
    path.strip_prefix(from)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in [
            ("web", "web"),
            ("HEAD~1", "'HEAD~1'"),
            ("../other repo", "'../other repo'"),
            ("päth/x", "päth/x"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
            assert_eq!(split(&format!("a {expected} b")), ["a", word, "b"]);
        }
    }

    #[test]
    fn what_was_selected_is_what_was_typed_behind_the_pipeline() {
        for (command, expected) in [
            ("shipline pipeline web", &["web"][..]),
            (
                "cargo xtask -C 'a b' pipeline web --all --state=/x",
                &["web", "--all"],
            ),
            (
                "shipline --state x pipeline -c api web",
                &["-c", "api", "web"],
            ),
            ("shipline", &[]),
        ] {
            assert_eq!(selected(command), expected, "{command}");
        }
    }

    #[test]
    fn what_names_components_and_stages_is_left_out() {
        let words = split("web -c api --only=a,b --component x -capi --jobs 2 --only c --online");
        assert_eq!(
            without(&without(&words, COMPONENTS), STAGES),
            ["web", "--jobs", "2", "--online"]
        );
        assert_eq!(apart(&words, COMPONENTS).1, ["api", "x", "api"]);
        assert_eq!(apart(&words, STAGES).1, ["a", "b", "c"]);
    }
}
