//! `pipeline.yaml` as a checked model: every default filled in, every reference resolved, every name a newtype.
//!
//! A text goes through four steps: the `yaml` tree says where everything stands, `structure` holds the tree against the
//! shape of the language, serde reads the values, and `check` looks at what they mean. Every step reports all that it
//! finds, and the later ones go on with what the earlier ones left whole.

mod check;
mod later;
mod place;
mod problem;
mod raw;
mod rules;
mod schema;
mod show;
mod structure;
mod suggest;
mod templates;
mod types;
mod variables;
mod warning;
mod withhold;

pub use crate::stage_kind::StageKind;
pub use problem::{ConfigErrors, Objection, Problem};
pub use rules::unknown_rules;
pub use schema::schema;
pub use show::show;
pub use suggest::did_you_mean;
pub use types::*;
pub use variables::MissingAt;
pub use warning::{Warning, warnings};
pub use withhold::{Withheld, withhold};

use crate::yaml::{self, Node, NodeKind, Stream};
use problem::{Aliases, Found, Problems, value};

/// Reads and checks a `pipeline.yaml`. `file_name` is what errors call it.
///
/// # Errors
/// All problems of the file, each with its place.
pub fn load(file_name: &str, text: &str) -> Result<Config, ConfigErrors> {
    // Editors of some systems begin every file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = |found: Found| Err(ConfigErrors::new(file_name, text, found));
    let stream = match yaml::parse(text) {
        Ok(stream) => stream,
        Err(error) => return refused(syntax(text, error.message, error.offset).into()),
    };
    let root = match single_document(text, &stream) {
        Ok(root) => root,
        Err(problem) => return refused(problem.into()),
    };
    let aliases = structure::aliases(root);
    let mut problems = Problems::new(root, &aliases);
    let Some(file) = read(text, root, &aliases, &mut problems) else {
        return refused(problems.finish());
    };
    let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
    let lines = |byte: usize| 1 + ends.partition_point(|end| *end < byte);
    let config = check::file(&file, &lines, &mut problems);
    match (config, problems.is_empty()) {
        (Some(config), true) => Ok(config),
        (None, true) => {
            problems.push(
                value(&yaml::Route::root(), "something here is wrong")
                    .help("this is a bug of Shipline: it should have said what"),
            );
            refused(problems.finish())
        }
        (_, false) => refused(problems.finish()),
    }
}

/// Objections to a file that [`load`] took, each at its place in the `text`.
#[must_use]
pub fn objections(file_name: &str, text: &str, found: Vec<Objection>) -> ConfigErrors {
    let stream = yaml::parse(text).ok();
    let problems = match stream.as_ref().and_then(|stream| stream.documents.first()) {
        Some(root) => {
            let aliases = structure::aliases(root);
            let mut problems = Problems::new(root, &aliases);
            for Objection {
                route,
                message,
                label,
                help,
            } in found
            {
                problems.push(value(&route, message).label(label).help(help));
            }
            problems.finish()
        }
        None => Found::default(),
    };
    ConfigErrors::new(file_name, text, problems)
}

/// A text that fits is read by serde_yaml as it is; of one that does not, what fits.
fn read(
    text: &str,
    root: &Node,
    aliases: &Aliases<'_>,
    problems: &mut Problems<'_>,
) -> Option<raw::File> {
    let fitting = structure::fit(root, schema::shape(), aliases, problems)?;
    let read = if problems.is_empty() {
        serde_yaml::from_str(text)
    } else {
        serde_yaml::from_value(fitting)
    };
    match read {
        Ok(file) => Some(file),
        Err(error) => {
            if problems.is_empty() {
                let at = error.location().map_or(0, |location| location.index());
                let draft = value(&yaml::Route::root(), error.to_string());
                problems.push_at(draft, place(text, at));
            }
            None
        }
    }
}

const EMPTY: &str = "it needs at least `version`, `project`, `environments` and `components`";

fn single_document<'a>(text: &str, stream: &'a Stream) -> Result<&'a Node, Problem> {
    let problem = |message: &str, at: usize, help: &str| Problem {
        route: yaml::Route::root(),
        span: place(text, at),
        message: message.to_owned(),
        label: "here".to_owned(),
        help: Some(help.to_owned()),
    };
    let nothing = |node: &Node| match &node.kind {
        NodeKind::Scalar(scalar) => scalar.value.is_empty() && node.span.is_empty(),
        NodeKind::Mapping(_) | NodeKind::Sequence(_) | NodeKind::Alias(_) => false,
    };
    match stream.documents.as_slice() {
        [] => Err(problem("the file is empty", 0, EMPTY)),
        [root] if nothing(root) => Err(problem("the file is empty", 0, EMPTY)),
        [root] => Ok(root),
        [_, second, ..] => Err(problem(
            "the file holds more than one document",
            second.span.start,
            "remove the `---` and what belongs to another file",
        )),
    }
}

fn syntax(text: &str, message: String, at: usize) -> Problem {
    Problem {
        route: yaml::Route::root(),
        span: place(text, at),
        message: format!("this is no YAML: {message}"),
        label: "here".to_owned(),
        help: Some(syntax_help(text, at)),
    }
}

/// What is most often wrong at a place that is no YAML.
fn syntax_help(text: &str, at: usize) -> String {
    let span = place(text, at);
    let foreign = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    if let Some(character) = text[span.start..].chars().next().filter(foreign) {
        return format!(
            "remove the character U+{:04X}: it has no place in a text",
            u32::from(character)
        );
    }
    let line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let line = text[line..].lines().next().unwrap_or_default();
    if line.contains('\t') {
        return "write blanks in the place of the tab: YAML is indented with blanks only"
            .to_owned();
    }
    "look at the indentation, brackets and quotes at and above this place".to_owned()
}

/// The character at a byte, for places that come without an extent.
fn place(text: &str, at: usize) -> std::ops::Range<usize> {
    let mut start = at.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let length = text[start..]
        .chars()
        .next()
        .filter(|c| *c != '\n')
        .map_or(0, char::len_utf8);
    start..start + length
}
