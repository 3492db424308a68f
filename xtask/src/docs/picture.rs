//! The picture of a run: its lines as they stand in a terminal, as SVG.

use std::fmt::Write as _;

/// Pixels of a character, by its font.
const WIDE: f32 = 7.83;
/// Pixels of a line.
const HIGH: usize = 19;
/// Pixels around.
const MARGIN: usize = 16;
/// Characters of a line that are shown.
const LONGEST: usize = 110;

/// The picture.
pub(super) fn svg(text: &str) -> String {
    let mut lines = vec!["$ cargo xtask pipeline frontend".to_owned()];
    lines.extend(text.lines().map(shortened));
    let longest = lines.iter().map(|line| line.chars().count()).max();
    let width = (longest.unwrap_or(0) as f32 * WIDE).ceil() as usize + 2 * MARGIN;
    let height = lines.len() * HIGH + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>A run of the sample frontend, as a terminal shows it</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#d7dae0\" xml:space=\"preserve\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN + HIGH * index + 13;
        let colour = match colour(line) {
            Some(colour) => format!(" fill=\"{colour}\""),
            None => String::new(),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\"{colour}>{}</text>",
            escaped(line)
        );
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The colour of a line that has one of its own.
fn colour(line: &str) -> Option<&'static str> {
    let bare = line.trim_start();
    if line.starts_with('$') {
        Some("#ffffff")
    } else if line.starts_with("green:") || bare.starts_with("+ ") || line.contains(": passed") {
        Some("#7ec699")
    } else if line.starts_with("red:") || bare.starts_with("- ") || line.contains(": failed") {
        Some("#f08d8d")
    } else if line.starts_with("note:") {
        Some("#e6c07b")
    } else if line.contains(": started") || line.contains(": cached") {
        Some("#8a919e")
    } else {
        None
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn escaped(line: &str) -> String {
    line.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_texts() {
        let svg = svg(&format!("a: passed <1>\n{}\ngreen: 1", "x".repeat(200)));
        assert!(
            svg.contains("fill=\"#7ec699\">a: passed &lt;1&gt;</text>"),
            "{svg}"
        );
        assert!(svg.contains(&format!(">{}…</text>", "x".repeat(LONGEST))));
        assert_eq!(svg.matches("<text ").count(), 4);
    }
}
