//! Wall time, processor time and memory, and the table that shows them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;

/// Clock ticks per second in `/proc`: a constant of Linux towards programs.
const TICKS: f64 = 100.0;
/// How often the children's memory is looked at. Their peaks only rise, so that little is missed.
const LOOK: Duration = Duration::from_millis(5);
/// Columns of the table.
const COLUMNS: [&str; 3] = ["first time", "unchanged", "one file changed"];

/// What one piece of work took. What the system does not tell is `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Processor seconds, user and system, of the processes that the work started.
    pub(crate) cpu: Option<f64>,
    /// The most memory that one of these processes had resident, in bytes.
    pub(crate) peak: Option<u64>,
}

/// Does `work`, which does everything in processes of its own and waits for them, and says what they took beside what it gives.
pub(crate) fn measure<T>(
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<(Figure, T), Failure> {
    let others = descendants();
    let done = AtomicBool::new(false);
    let before = cpu();
    let start = Instant::now();
    let (outcome, wall, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = None;
            while !done.load(Ordering::Relaxed) {
                let seen = descendants()
                    .difference(&others)
                    .filter_map(|process| resident(*process))
                    .max();
                peak = peak.max(seen);
                std::thread::sleep(LOOK);
            }
            peak
        });
        let outcome = work();
        let wall = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        (outcome, wall, watch.join().ok().flatten())
    });
    let value = outcome?;
    let cpu = before.zip(cpu()).map(|(before, after)| after - before);
    Ok((Figure { wall, cpu, peak }, value))
}

/// Processor seconds of all children that this process has waited for.
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name is in parentheses and may hold anything; what follows starts with the third field (proc(5)).
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields
        .split(' ')
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS)
}

/// The processes below this one.
fn descendants() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = vec![std::process::id()];
    while let Some(process) = open.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split(' ').filter_map(|word| word.parse().ok()) {
                if found.insert(child) {
                    open.push(child);
                }
            }
        }
    }
    found
}

/// The most memory that a process ever had resident, in bytes.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
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

/// Bytes for people, in megabytes.
pub(crate) fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or("-".to_owned(), |bytes| {
        format!("{:.0} MB", bytes as f64 / 1e6)
    })
}

/// The figures of one way to do it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) figures: [Option<Figure>; COLUMNS.len()],
    /// Compressed bytes of the image in the registry.
    pub(crate) image: Option<u64>,
    /// What else is to be said.
    pub(crate) note: String,
}

impl Row {
    /// A row without figures.
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            figures: [None; COLUMNS.len()],
            image: None,
            note: String::new(),
        }
    }

    /// Keeps the less of each of the figure that is there and this; of memory, the more.
    pub(crate) fn better(&mut self, column: usize, figure: Figure) {
        let place = &mut self.figures[column];
        *place = Some(match *place {
            None => figure,
            Some(there) => Figure {
                wall: there.wall.min(figure.wall),
                cpu: there.cpu.zip(figure.cpu).map(|(one, two)| one.min(two)),
                peak: there.peak.max(figure.peak),
            },
        });
    }

    fn peak(&self) -> Option<u64> {
        self.figures
            .iter()
            .flatten()
            .filter_map(|figure| figure.peak)
            .max()
    }
}

/// How many times as much as `of` a figure is, by wall time.
pub(crate) fn times(figure: Option<Figure>, of: Option<Figure>) -> String {
    figure.zip(of).map_or("-".to_owned(), |(figure, of)| {
        format!("{:.2}", figure.wall / of.wall)
    })
}

/// The rows as a table, with the ratio of each first figure to the first row's.
pub(crate) fn table(rows: &[Row]) -> String {
    let bound = rows.first().and_then(|row| row.figures[0]);
    let width = rows
        .iter()
        .map(|row| row.title.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{:width$} | {:^24}", "", COLUMNS[0]);
    for column in &COLUMNS[1..] {
        let _ = write!(text, " | {column:^16}");
    }
    let _ = write!(
        text,
        " |\n{:width$} | {:>8} {:>7} {:>7}",
        "", "wall s", "CPU s", "× bound"
    );
    for _ in &COLUMNS[1..] {
        let _ = write!(text, " | {:>8} {:>7}", "wall s", "CPU s");
    }
    let _ = write!(text, " | {:>9} | {:>9}", "memory", "image");
    for row in rows {
        let _ = write!(text, "\n{:width$}", row.title);
        for (column, figure) in row.figures.into_iter().enumerate() {
            let (wall, cpu) = match figure {
                Some(figure) => (
                    format!("{:.3}", figure.wall),
                    figure.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.2}")),
                ),
                None => (String::new(), String::new()),
            };
            let _ = write!(text, " | {wall:>8} {cpu:>7}");
            if column == 0 {
                let _ = write!(text, " {:>7}", times(figure, bound));
            }
        }
        let _ = write!(
            text,
            " | {:>9} | {:>9}",
            megabytes(row.peak()),
            megabytes(row.image)
        );
        if !row.note.is_empty() {
            let _ = write!(text, " | {}", row.note);
        }
    }
    text
}
