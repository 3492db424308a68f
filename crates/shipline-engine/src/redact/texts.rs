//! All texts of an event that came from outside, seen by one visitor. Every type is taken apart whole: a new field does not compile
//! before somebody has said whether it is such a text.

use shipline_model::finding::{Finding, Location, Rule, Suppression};
use shipline_model::path::GitPath;
use shipline_model::plan::{
    Base, BaseRule, Decision, Head, ImageAction, KeyInput, MovedBase, PathChange, Plan,
    PlannedComponent, PlannedImage, Reason, Task,
};
use shipline_model::stage_kind::StageKind;
use shipline_model::value::Value;

use crate::event::{
    BuiltImage, DeployedCommit, EventKind, Facts, Failure, ImageChange, Outcome, PushedImage,
    SkipReason,
};

/// A text that came from outside.
pub(super) enum Text<'t> {
    /// One line.
    Line(&'t mut String),
    /// Several lines.
    Lines(&'t mut String),
    /// A path of the repository.
    Path(&'t mut GitPath),
}

/// Who sees the texts, and may change them.
pub(super) type See<'s> = dyn FnMut(Text<'_>) + 's;

pub(super) fn of_event(kind: &mut EventKind, see: &mut See<'_>) {
    match kind {
        EventKind::RunStarted { run: _, plan } => of_plan(plan, see),
        EventKind::TaskOutput {
            id: _,
            stream: _,
            line,
        } => see(Text::Line(line)),
        EventKind::TaskProgress {
            id: _,
            what,
            done: _,
            total: _,
            unit: _,
        } => see(Text::Line(what)),
        EventKind::TaskRetrying {
            id: _,
            error,
            after: _,
        } => see(Text::Lines(error)),
        EventKind::FindingReported { id: _, finding } => of_finding(finding, see),
        EventKind::TaskFinished {
            id: _,
            outcome,
            took: _,
        } => of_outcome(outcome, see),
        EventKind::TaskStarted { id: _, attempt: _ }
        | EventKind::RunCancelling { reason: _ }
        | EventKind::RunFinished { summary: _ } => {}
    }
}

pub(super) fn of_plan(plan: &mut Plan, see: &mut See<'_>) {
    let Plan {
        pipeline: _,
        profile: _,
        head,
        components,
        tasks,
        notes,
    } = plan;
    let Head {
        commit: _,
        time: _,
        branch,
        dirty,
    } = head;
    branch.iter_mut().for_each(|branch| see(Text::Line(branch)));
    let mut paths = dirty.to_vec();
    paths.iter_mut().for_each(|path| see(Text::Path(path)));
    *dirty = paths.into_iter().collect();
    for component in components {
        of_component(component, see);
    }
    for task in tasks {
        of_task(task, see);
    }
    each(notes, see);
}

fn each(lines: &mut [String], see: &mut See<'_>) {
    lines.iter_mut().for_each(|line| see(Text::Line(line)));
}

fn of_inputs(inputs: &mut [KeyInput], see: &mut See<'_>) {
    for KeyInput { name, value } in inputs {
        see(Text::Line(name));
        value.iter_mut().for_each(|value| see(Text::Lines(value)));
    }
}

fn of_component(component: &mut PlannedComponent, see: &mut See<'_>) {
    let PlannedComponent {
        name: _,
        base,
        reasons,
        source_key: _,
        source_inputs,
        bases,
        images,
    } = component;
    match base {
        Base::Commit { id: _, rule } => match rule {
            BaseRule::Deployed {
                tag,
                environment: _,
            } => see(Text::Line(tag)),
            BaseRule::DefaultBranch { branch } => see(Text::Line(branch)),
            BaseRule::Asked
            | BaseRule::PullRequest
            | BaseRule::PullRequestBase
            | BaseRule::PushBefore => {}
        },
        Base::Unknown { reason } => see(Text::Line(reason)),
        Base::All => {}
    }
    for reason in reasons {
        of_reason(reason, see);
    }
    of_inputs(source_inputs, see);
    for (reference, _) in bases {
        see(Text::Line(reference));
    }
    for image in images {
        of_image(image, see);
    }
}

fn of_reason(reason: &mut Reason, see: &mut See<'_>) {
    match reason {
        Reason::Path {
            file: PathChange { path, kind: _ },
            under: _,
            declared: _,
        }
        | Reason::PipelineFile {
            file: PathChange { path, kind: _ },
        } => see(Text::Path(path)),
        Reason::LockedBase {
            base:
                MovedBase {
                    reference,
                    from: _,
                    to: _,
                },
        } => see(Text::Line(reference)),
        Reason::NoBase { why } => see(Text::Line(why)),
        Reason::All => {}
    }
}

fn of_image(image: &mut PlannedImage, see: &mut See<'_>) {
    let PlannedImage {
        id: _,
        repository: _,
        tag: _,
        commit: _,
        commit_time: _,
        source_key: _,
        build_key: _,
        build_inputs,
        platform: _,
        args,
        secrets,
        action,
    } = image;
    of_inputs(build_inputs, see);
    for value in args.values_mut().chain(secrets.values_mut()) {
        match value {
            Value::Public(text) => see(Text::Line(text)),
            Value::Secret(_) => {}
        }
    }
    match action {
        ImageAction::Build { why } => see(Text::Line(why)),
        ImageAction::Take { digest: _, from: _ } => {}
    }
}

fn of_task(task: &mut Task, see: &mut See<'_>) {
    let Task {
        id: _,
        kind,
        needs: _,
        decision,
        resource: _,
        timeout: _,
    } = task;
    match kind {
        StageKind::Run { command } => see(Text::Lines(command)),
        StageKind::Detect
        | StageKind::Test
        | StageKind::Build
        | StageKind::ImageScan
        | StageKind::Push
        | StageKind::Gitops { environment: _ } => {}
    }
    match decision {
        Decision::Run { why } => see(Text::Line(why)),
        Decision::Skip { reason } => see(Text::Line(reason)),
        Decision::Cached { key: _, from: _ } => {}
    }
}

pub(super) fn of_finding(finding: &mut Finding, see: &mut See<'_>) {
    let Finding {
        kind: _,
        rule: Rule {
            id,
            help,
            link,
            tags,
        },
        severity: _,
        message,
        matched,
        stem,
        location,
        commit: _,
        package,
        remedy,
        fixed_in,
        fingerprint: _,
        suppression,
    } = finding;
    for text in [id, message, matched] {
        see(Text::Line(text));
    }
    for text in [help, link, stem, package, remedy, fixed_in] {
        text.iter_mut().for_each(|text| see(Text::Line(text)));
    }
    each(tags, see);
    match location {
        Location::ImageFile {
            layer: _,
            layer_index: _,
            path,
            offset: _,
        }
        | Location::SourceFile { path, region: _ } => see(Text::Line(path)),
        Location::ImageConfig { field } => see(Text::Line(field)),
    }
    match suppression {
        Some(Suppression::Exception { reason, until: _ }) => see(Text::Line(reason)),
        Some(Suppression::Baseline { file }) => see(Text::Line(file)),
        None => {}
    }
}

fn of_outcome(outcome: &mut Outcome, see: &mut See<'_>) {
    match outcome {
        Outcome::Passed(facts) => of_facts(facts, see),
        Outcome::Cached {
            key: _,
            from: _,
            facts,
        } => of_facts(facts, see),
        Outcome::Failed(Failure {
            class: _,
            message,
            hints,
        }) => {
            see(Text::Lines(message));
            hints.iter_mut().for_each(|hint| see(Text::Lines(hint)));
        }
        Outcome::Skipped { reason } => match reason {
            SkipReason::Planned { reason } => see(Text::Line(reason)),
            SkipReason::Dependency { failed: _ } | SkipReason::RunFailed => {}
        },
        Outcome::NotAssessed { why } => see(Text::Lines(why)),
        Outcome::Cancelled => {}
    }
}

fn of_facts(facts: &mut Facts, see: &mut See<'_>) {
    match facts {
        Facts::Built(BuiltImage {
            id: _,
            digest: _,
            size: _,
            layers: _,
            reused_layers: _,
            bases,
            builder: _,
        }) => {
            for (reference, _) in bases {
                see(Text::Line(reference));
            }
        }
        Facts::Pushed(images) => {
            for PushedImage {
                id: _,
                reference,
                digest: _,
                sent: _,
                already_there: _,
            } in images
            {
                see(Text::Line(reference));
            }
        }
        Facts::Deployed(DeployedCommit {
            commit: _,
            made: _,
            changes,
            notes,
        }) => {
            for ImageChange {
                component: _,
                file,
                line: _,
                from,
                to,
            } in changes
            {
                for text in [file, from, to] {
                    see(Text::Line(text));
                }
            }
            each(notes, see);
        }
        Facts::Scanned {
            bytes: _,
            findings: _,
            suppressed: _,
            packages: _,
            not_assessed,
        } => each(not_assessed, see),
        Facts::None | Facts::Detected { affected: _, of: _ } => {}
    }
}
