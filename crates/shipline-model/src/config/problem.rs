//! What is wrong with a `pipeline.yaml`, each problem at its place.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::yaml::{Node, NodeKind, Route, Step};

/// How many problems are looked for. Nobody reads more, and each is searched for in the whole file.
const MOST: usize = 200;

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the structure: `components.frontend.image`.
    pub route: Route,
    /// Where in the text, in bytes.
    pub span: Range<usize>,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What the marked place is, in a word or two.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// All that is wrong with a `pipeline.yaml`. As a [`Diagnostic`] it draws every problem at its place.
#[derive(Debug)]
pub struct ConfigErrors {
    source: NamedSource<String>,
    found: Found,
}

/// Problems that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    problems: Vec<Problem>,
    /// Whether there may be more: the search ended with these.
    cut: bool,
}

impl From<Problem> for Found {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            cut: false,
        }
    }
}

impl ConfigErrors {
    pub(super) fn new(file_name: &str, text: &str, found: impl Into<Found>) -> Self {
        Self {
            source: NamedSource::new(file_name, text.to_owned()),
            found: found.into(),
        }
    }

    /// The problems, in the order of their places.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.found.problems
    }

    /// Whether there may be more problems than [`ConfigErrors::problems`]: of very many not all are looked for.
    #[must_use]
    pub fn may_be_more(&self) -> bool {
        self.found.cut
    }

    /// The file's name as it was given.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.source.name()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.found.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        let more = if self.found.cut { " or more" } else { "" };
        write!(
            f,
            "{} has {count}{more} problem{plural}",
            self.source.name()
        )
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.problems()
                .iter()
                .map(|problem| problem as &dyn Diagnostic),
        ))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.route.steps().is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.route, self.message)
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new(
            Some(self.label.clone()),
            self.span.start,
            self.span.len(),
        ))))
    }
}

/// Something in a checked file that turned out to be wrong when the repository was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Where in the structure.
    pub route: Route,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What the marked place is, in a word or two.
    pub label: &'static str,
    /// What to write instead.
    pub help: String,
}

/// Which part of an entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

/// A problem before its place is known.
pub(super) struct Draft {
    route: Route,
    part: Part,
    message: String,
    label: &'static str,
    help: Option<String>,
}

/// A problem with the value at `route`.
pub(super) fn value(route: &Route, message: impl Into<String>) -> Draft {
    Draft {
        route: route.clone(),
        part: Part::Value,
        message: message.into(),
        label: "here",
        help: None,
    }
}

/// A problem with the key at `route`.
pub(super) fn key(route: &Route, message: impl Into<String>) -> Draft {
    Draft {
        part: Part::Key,
        ..value(route, message)
    }
}

impl Draft {
    pub(super) fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Aliases by the byte at which they stand, and what they stand for.
pub(super) type Aliases<'a> = HashMap<usize, &'a Node>;

/// Collects problems and gives each its place.
pub(super) struct Problems<'a> {
    root: &'a Node,
    aliases: &'a Aliases<'a>,
    found: Vec<Problem>,
    unfit: HashSet<Route>,
    misspelt: HashMap<Route, String>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(root: &'a Node, aliases: &'a Aliases<'a>) -> Self {
        Self {
            root,
            aliases,
            found: Vec::new(),
            unfit: HashSet::new(),
            misspelt: HashMap::new(),
        }
    }

    /// Notes that the file calls what is meant by this route by another name, which is where its problems are shown.
    pub(super) fn misspelt(&mut self, meant: &Route, given: &str) {
        self.misspelt.insert(meant.clone(), given.to_owned());
    }

    /// Notes that the value at this route is replaced by a blank: what is said of the blank is not worth saying.
    pub(super) fn unfit(&mut self, route: &Route) {
        self.unfit.insert(route.clone());
    }

    /// Whether no more problems are taken. Who has to look far for what to say of one asks before.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    pub(super) fn push(&mut self, draft: Draft) {
        if self.is_full() || self.unfit.contains(&draft.route) {
            return;
        }
        let span = self.place(&draft.route, draft.part);
        self.push_at(draft, span);
    }

    /// Where the place is known better than the route tells (a second key of the same name).
    pub(super) fn push_at(&mut self, draft: Draft, span: Range<usize>) {
        if self.is_full() {
            return;
        }
        let Draft {
            route,
            part: _,
            message,
            label,
            help,
        } = draft;
        self.found.push(Problem {
            route,
            span,
            message,
            label: label.to_owned(),
            help,
        });
    }

    /// Whether the value at this route was replaced by a blank.
    pub(super) fn is_unfit(&self, route: &Route) -> bool {
        self.unfit.contains(route)
    }

    /// Whether something is wrong at this route or below it. What would follow from it is not worth saying.
    pub(super) fn are_within(&self, route: &Route) -> bool {
        self.found
            .iter()
            .any(|problem| problem.route.steps().starts_with(route.steps()))
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems in the order of their places.
    pub(super) fn finish(mut self) -> Found {
        let cut = self.is_full();
        self.found
            .sort_by_key(|problem| (problem.span.start, problem.span.end));
        // Through aliases one place can be wrong on several routes.
        self.found
            .dedup_by(|a, b| a.span == b.span && a.message == b.message);
        Found {
            problems: self.found,
            cut,
        }
    }

    /// The bytes of the value at a route; what of the route is there, where not all of it is.
    pub(super) fn place(&self, route: &Route, part: Part) -> Range<usize> {
        let mut node = self.root;
        let mut span = narrow(node);
        let last = route.steps().len().saturating_sub(1);
        let mut here = Route::root();
        for (position, step) in route.steps().iter().enumerate() {
            here = match step {
                Step::Key(name) => here.key(name),
                Step::Index(index) => here.index(*index),
            };
            let given = self.misspelt.get(&here);
            let node_here = self.aliases.get(&node.span.start).copied().unwrap_or(node);
            let next = match (&node_here.kind, step) {
                (NodeKind::Mapping(entries), Step::Key(name)) => entries
                    .iter()
                    .find(|(key, _)| matches!(&key.kind, NodeKind::Scalar(scalar) if scalar.value == *given.unwrap_or(name)))
                    .map(|(key, value)| (Some(key), value)),
                (NodeKind::Sequence(items), Step::Index(index)) => {
                    items.get(*index).map(|item| (None, item))
                }
                (
                    NodeKind::Mapping(_)
                    | NodeKind::Sequence(_)
                    | NodeKind::Scalar(_)
                    | NodeKind::Alias(_),
                    Step::Key(_) | Step::Index(_),
                ) => None,
            };
            let Some((key, value)) = next else {
                return span;
            };
            span = match key {
                Some(key) if position < last || part == Part::Key => key.span.clone(),
                Some(key) if is_block(value) || value.span.is_empty() => key.span.clone(),
                Some(_) | None => narrow(value),
            };
            node = value;
        }
        span
    }
}

/// Collections are marked by where they begin, so that a drawing does not span half of the file.
fn narrow(node: &Node) -> Range<usize> {
    match &node.kind {
        NodeKind::Scalar(_) | NodeKind::Alias(_) => node.span.clone(),
        NodeKind::Mapping(entries) => entries
            .first()
            .map_or(node.span.clone(), |(key, _)| key.span.clone()),
        NodeKind::Sequence(items) => items.first().map_or(node.span.clone(), narrow),
    }
}

fn is_block(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Mapping(entries) => !entries.is_empty(),
        NodeKind::Sequence(items) => !items.is_empty(),
        NodeKind::Scalar(_) | NodeKind::Alias(_) => false,
    }
}
