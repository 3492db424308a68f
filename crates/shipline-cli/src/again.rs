//! Commands as a person would type them again.

use std::path::{Path, PathBuf};

use shipline_engine::folder::Place;
use shipline_engine::record;
use shipline_model::name::StageName;
use shipline_model::plan::{Plan, TaskId};
use shipline_model::stage_kind::Nature;
use shipline_report::Signposts;

use crate::args::Selection;
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
}

impl Program {
    /// `shipline -C DIR pipeline NAME`, with the profile where it is not the default.
    fn pipeline(&self, pipeline: &str, profile: &str) -> Vec<String> {
        let mut words: Vec<String> = self.name.split(' ').map(str::to_owned).collect();
        if let Some(directory) = &self.directory {
            push(&mut words, "-C", &directory.display().to_string());
        }
        if let Some(state) = &self.state {
            push(&mut words, "--state", &state.display().to_string());
        }
        push(&mut words, "pipeline", pipeline);
        if profile != "local" {
            push(&mut words, "--profile", profile);
        }
        words
    }
}

/// The commands that repeat a run and its tasks.
pub(crate) struct Again {
    /// The run.
    whole: String,
    /// The same without what narrows it down.
    wide: String,
    builds: Vec<StageName>,
    scans: Vec<StageName>,
}

impl Again {
    /// Of a run that was asked for like this.
    pub(crate) fn of(selection: &Selection, plan: &Plan, program: &Program) -> Self {
        let wide = joined(&wide(selection, program));
        Self::with(whole(selection, program), wide, plan)
    }

    /// Of a recorded run. Its component counts as changed, whatever was deployed since.
    pub(crate) fn of_record(plan: &Plan, program: &Program) -> Self {
        let whole = joined(&program.pipeline(plan.pipeline.as_str(), plan.profile.as_str()));
        let wide = format!("{whole} --all");
        Self::with(whole, wide, plan)
    }

    /// Of a run of which no more is known than its command.
    pub(crate) fn as_typed(whole: String) -> Self {
        Self {
            wide: whole.clone(),
            whole,
            builds: Vec::new(),
            scans: Vec::new(),
        }
    }

    fn with(whole: String, wide: String, plan: &Plan) -> Self {
        let stages = |is: fn(&Nature) -> bool| {
            let tasks = plan.tasks.iter().filter(|task| is(&task.kind.nature()));
            let mut names: Vec<StageName> = tasks.map(|task| task.id.stage.clone()).collect();
            names.dedup();
            names
        };
        Self {
            whole,
            wide,
            builds: stages(Nature::makes_images),
            scans: stages(Nature::judges_images),
        }
    }

    /// The command that repeats one task and publishes nothing; for a task of the whole run, all of it.
    fn task(&self, task: &TaskId) -> String {
        let Some(component) = &task.component else {
            return self.whole.clone();
        };
        let mut stages = vec![task.stage.as_str()];
        if self.scans.contains(&task.stage) {
            // What is scanned has to be built first, if it is not there.
            stages.splice(0..0, self.builds.iter().map(AsRef::as_ref));
        }
        let mut more = Vec::new();
        push(&mut more, "--component", component.as_str());
        push(&mut more, "--only", &stages.join(","));
        format!("{} {}", self.wide, joined(&more))
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

/// The command of a run, for its record and for those who wait for it.
pub(crate) fn whole(selection: &Selection, program: &Program) -> String {
    joined(&words(selection, program))
}

/// The words of the command of a run.
pub(crate) fn words(selection: &Selection, program: &Program) -> Vec<String> {
    let mut words = wide(selection, program);
    let list = |names: Vec<&str>| names.join(",");
    if !selection.components.is_empty() {
        let names = selection.components.iter().map(AsRef::as_ref).collect();
        push(&mut words, "--component", &list(names));
    }
    if !selection.only.is_empty() {
        let names = selection.only.iter().map(AsRef::as_ref).collect();
        push(&mut words, "--only", &list(names));
    }
    words
}

fn wide(selection: &Selection, program: &Program) -> Vec<String> {
    let mut words = program.pipeline(selection.pipeline.as_str(), selection.profile.as_str());
    if let Some(base) = &selection.base {
        push(&mut words, "--base", base);
    }
    let flags = [
        (selection.all, "--all"),
        (selection.no_cache, "--no-cache"),
        (selection.deliver, "--deliver"),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(given, _)| *given)
            .map(|(_, flag)| (*flag).to_owned()),
    );
    words
}

fn push(words: &mut Vec<String>, flag: &str, value: &str) {
    words.extend([flag.to_owned(), value.to_owned()]);
}

/// Words as one command of a POSIX shell.
fn joined(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:@%+=^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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
        }
    }
}
