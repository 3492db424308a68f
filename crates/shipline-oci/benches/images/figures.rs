//! Wall time, processor time and memory, and the table that shows them.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use crate::Failure;

/// Clock ticks per second in `/proc`: a constant of Linux towards programs.
const TICKS: f64 = 100.0;
/// Columns of the table.
const COLUMNS: [&str; 3] = ["first time", "unchanged", "one file changed"];

/// What one piece of work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Processor seconds, user and system, of this process and of the children that it has waited for, where they can be had.
    pub(crate) cpu: Option<f64>,
}

/// Does `work` and says what it took.
pub(crate) fn measure(work: impl FnOnce() -> Result<(), Failure>) -> Result<Figure, Failure> {
    let before = cpu();
    let start = Instant::now();
    work()?;
    let wall = start.elapsed().as_secs_f64();
    let cpu = before.zip(cpu()).map(|(before, after)| after - before);
    Ok(Figure { wall, cpu })
}

/// Processor seconds so far; `None` where there is no `/proc`.
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name is in parentheses and may hold anything; what follows starts with the third field (proc(5)).
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<f64>() / TICKS)
}

/// The most memory that this process ever had resident, in bytes; `None` where there is no `/proc`.
pub(crate) fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The load averages: whoever reads figures wants to know what else was going on.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split(' ').take(3).collect();
    if averages.is_empty() {
        "unknown".to_owned()
    } else {
        averages.join(" ")
    }
}

/// The figures of one way to do it.
#[derive(Debug)]
pub(crate) struct Row {
    title: String,
    figures: [Option<Figure>; COLUMNS.len()],
    /// What else is to be said.
    pub(crate) note: String,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            figures: [None; COLUMNS.len()],
            note: String::new(),
        }
    }

    /// Keeps the faster one of the figure that is there and this.
    pub(crate) fn better(&mut self, column: usize, figure: Figure) {
        let place = &mut self.figures[column];
        if place.is_none_or(|there| figure.wall < there.wall) {
            *place = Some(figure);
        }
    }
}

/// The rows as a table, each figure with its ratio to the first row's first one.
pub(crate) fn table(rows: &[Row]) -> String {
    let bound = rows
        .first()
        .and_then(|row| row.figures[0])
        .map_or(f64::NAN, |figure| figure.wall);
    let width = rows
        .iter()
        .map(|row| row.title.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{:width$}", "");
    for column in COLUMNS {
        let _ = write!(text, " | {column:^24}");
    }
    let _ = write!(text, "\n{:width$}", "");
    for _ in COLUMNS {
        let _ = write!(text, " | {:>8} {:>7} {:>7}", "wall s", "CPU s", "× bound");
    }
    for row in rows {
        let _ = write!(text, "\n{:width$}", row.title);
        for figure in row.figures {
            let [wall, cpu, ratio] = match figure {
                Some(figure) => [
                    format!("{:.3}", figure.wall),
                    figure.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.2}")),
                    format!("{:.2}", figure.wall / bound),
                ],
                None => ["", "", ""].map(str::to_owned),
            };
            let _ = write!(text, " | {wall:>8} {cpu:>7} {ratio:>7}");
        }
        if !row.note.is_empty() {
            let _ = write!(text, " | {}", row.note);
        }
    }
    text
}
