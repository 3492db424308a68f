//! Problems of `pipeline.yaml`, drawn at their places.

use std::borrow::Cow;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};
use shipline_engine::redact::Redactor;
use shipline_model::config::ConfigErrors;
use shipline_report::Palette;

use crate::settings::Screen;

/// Problems that are drawn; who has more begins with these.
const DRAWN: usize = 20;

/// Longest line, in characters, that is drawn whole.
const LONGEST: usize = 200;

/// Characters that are drawn before the place of a problem in a line that is too long.
const BEFORE: usize = 60;

/// All problems of a file whose text is `text`, as they are printed on `screen`. Secrets are masked before anything is drawn:
/// afterwards one could be broken into two lines.
pub(crate) fn draw(
    errors: &ConfigErrors,
    text: &str,
    screen: Screen,
    redactor: &Redactor,
) -> String {
    let (palette, width) = (screen.palette(), screen.width());
    let theme = match palette {
        Palette::Colour => GraphicalTheme::unicode(),
        Palette::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(usize::from(width))
        .with_links(false);
    let mut drawn = format!(
        "{} {}\n",
        palette.bad("error:"),
        redactor.show_line(&errors.to_string())
    );
    for problem in errors.problems().iter().take(DRAWN) {
        let (text, span) = harmless(text, &problem.span, redactor);
        let placed = Placed {
            excerpt: Excerpt::of(errors.file_name(), &text, &span),
            message: redactor.show(&problem.to_string()),
            label: redactor.show(&problem.label),
            help: problem.help.as_ref().map(|help| redactor.show(help)),
        };
        drawn.push('\n');
        if handler.render_report(&mut drawn, &placed).is_err() {
            // Writing into a String cannot fail; a problem whose place is wrong still says what it is.
            drawn.push_str(&format!("{placed}\n"));
        }
    }
    let more = errors.problems().len().saturating_sub(DRAWN);
    if more > 0 {
        let least = if errors.may_be_more() {
            "at least "
        } else {
            ""
        };
        drawn.push_str(&format!("\nand {least}{more} more\n"));
    }
    drawn
}

/// The text as it may be shown, line by line, and where the place is in it: in a line with a secret or with what a terminal would
/// obey, the whole line.
fn harmless<'t>(
    text: &'t str,
    span: &Range<usize>,
    redactor: &Redactor,
) -> (Cow<'t, str>, Range<usize>) {
    if redactor.show(text) == text {
        return (Cow::Borrowed(text), span.clone());
    }
    let (mut shown, mut place, mut at) = (String::new(), None, 0);
    for line in text.split_inclusive('\n') {
        let start = shown.len();
        // `\r\n` ends a line, and the `\r` is no part of it.
        let (own, end) = match line.strip_suffix("\r\n") {
            Some(own) => (own, "\n"),
            None => line
                .strip_suffix('\n')
                .map_or((line, ""), |own| (own, "\n")),
        };
        let harmless = redactor.show(own);
        if place.is_none() && span.start < at + line.len() {
            place = Some(if harmless == own {
                let inside = |offset: usize| start + offset.saturating_sub(at).min(own.len());
                inside(span.start)..inside(span.end)
            } else {
                start..start + harmless.trim_end().len()
            });
        }
        shown.push_str(&harmless);
        shown.push_str(end);
        at += line.len();
    }
    let place = place.unwrap_or(shown.len()..shown.len());
    (Cow::Owned(shown), place)
}

/// The lines around a place; of long ones only what stands near it.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: String,
    /// Lines before it.
    line: usize,
    /// Characters that are cut off on the left.
    column: usize,
    span: SourceSpan,
}

impl Excerpt {
    fn of(name: &str, text: &str, span: &Range<usize>) -> Self {
        let at = span.start.min(text.len());
        let first = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = text[..first].matches('\n').count();
        let end = text[first..]
            .find('\n')
            .map_or(text.len(), |end| first + end);
        let before = first
            .checked_sub(1)
            .and_then(|end| text[..end].rsplit('\n').next());
        let after = text.get(end + 1..).and_then(|rest| rest.split('\n').next());

        let own = &text[first..end];
        let place = own[..at - first].chars().count();
        let long = own.chars().count() > LONGEST;
        let skipped = if long {
            place.saturating_sub(BEFORE)
        } else {
            0
        };
        let cut = |line: &str| -> String {
            line.trim_end_matches('\r')
                .chars()
                .skip(skipped)
                .take(LONGEST)
                .collect()
        };
        let mut cropped = before.map(|line| cut(line) + "\n").unwrap_or_default();
        let start = cropped.len();
        cropped.push_str(&cut(own));
        let offset = cropped[start..]
            .char_indices()
            .nth(place - skipped)
            .map_or(cropped.len(), |(offset, _)| start + offset);
        let length = span.len().min(cropped.len() - offset);
        let mut stop = offset + length;
        while !cropped.is_char_boundary(stop) {
            stop += 1;
        }
        if let Some(after) = after.filter(|after| !after.is_empty()) {
            cropped.push('\n');
            cropped.push_str(&cut(after));
        }
        Self {
            name: name.to_owned(),
            line: line - usize::from(before.is_some()),
            column: skipped,
            span: (offset, stop - offset).into(),
            text: cropped,
        }
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        let column = match inner.column() {
            0 => 0,
            column => column + self.column,
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line() + self.line,
            column,
            inner.line_count(),
        )))
    }
}

/// A problem with the lines around its place, as it is drawn.
#[derive(Debug)]
struct Placed {
    message: String,
    label: String,
    help: Option<String>,
    excerpt: Excerpt,
}

impl std::fmt::Display for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Placed {}

impl Diagnostic for Placed {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.label.clone()), self.excerpt.span);
        Some(Box::new(std::iter::once(label)))
    }
}

#[cfg(test)]
mod tests {
    use shipline_model::config;

    use super::*;

    fn drawn(text: &str) -> String {
        let errors = config::load("pipeline.yaml", text).expect_err("it is wrong");
        draw(&errors, text, Screen::Plain, &Redactor::default())
    }

    #[test]
    fn a_problem_is_drawn_at_its_place() {
        assert_eq!(
            drawn("version: 1\r\nprojekt: é\r\nenvironments: {}\r\ncomponents: {}\r\npipelines: {}\r\n")
                .lines()
                .take(11)
                .collect::<Vec<_>>(),
            [
                "error: pipeline.yaml has 4 problems",
                "",
                "  × projekt: unknown key",
                "   ╭─[pipeline.yaml:2:1]",
                " 1 │ version: 1",
                " 2 │ projekt: é",
                "   · ───┬───",
                "   ·    ╰── unknown key",
                " 3 │ environments: {}",
                "   ╰────",
                "  help: did you mean `project`?",
            ]
        );
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_drawn() {
        let text = "version: 1\nproj\u{1b}]0;PWN\u{7}ect: x\n\"a\u{9b}2J\u{202e}\": \u{1b}[31m1\n";
        let drawn = drawn(text);
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!drawn.contains(obeyed), "{drawn:?}");
        assert!(drawn.contains("pipeline.yaml:2:1"), "{drawn}");
    }

    #[test]
    fn secrets_in_the_file_are_not_drawn() {
        let secret = "ghp_0123456789".repeat(12);
        let text = format!(
            "version: 1\nproject: x\nenvironmnts: {{}}\nprofiles:\n  ci: {{ gitops: {{ tken: {secret} }} }}\n{secret}: 1\n"
        );
        let errors = config::load("pipeline.yaml", &text).expect_err("it is wrong");
        let drawn = draw(&errors, &text, Screen::Plain, &Redactor::new([&secret]));
        assert!(!drawn.contains("ghp_01"), "{drawn}");
        assert!(drawn.contains("ci: { gitops: { tken: *** } }"), "{drawn}");
        assert!(drawn.contains("***: unknown key"), "{drawn}");
        assert!(drawn.contains("pipeline.yaml:3:1"), "{drawn}");
    }

    #[test]
    fn long_lines_are_drawn_around_the_place() {
        let text = format!("version: 1\nproject: {{{}: [[x}}\n", "é".repeat(100_000));
        let drawn = drawn(&text);
        assert!(drawn.len() < 4_000, "{} bytes", drawn.len());
        assert!(drawn.contains("pipeline.yaml:2:100"), "{drawn}");
    }

    #[test]
    fn of_many_problems_the_first_are_drawn() {
        let keys: String = (0..100).map(|n| format!("key{n}: 1\n")).collect();
        let drawn = drawn(&keys);
        assert!(drawn.contains("key0: unknown key"), "{drawn}");
        assert_eq!(drawn.matches("╭─[").count(), DRAWN, "{drawn}");
        assert!(drawn.trim_end().ends_with("and 84 more"), "{drawn}");
    }
}
