//! A terminal as far as the reporter uses one: rows that only grow, a cursor, and the few escape sequences that move it.

use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct State {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The begun escape sequence.
    sequence: Option<String>,
    /// Bytes of a begun character.
    bytes: Vec<u8>,
    colours: usize,
    broken: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Screen {
    state: Arc<Mutex<State>>,
    width: usize,
}

impl Screen {
    pub(crate) fn new(width: usize) -> Self {
        Self {
            state: Arc::default(),
            width,
        }
    }

    pub(crate) fn text(&self) -> String {
        let state = self.state.lock().unwrap();
        let rows = state.rows.iter().map(|row| {
            let row: String = row.iter().collect();
            row.trim_end().to_owned()
        });
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Sequences that set a colour.
    pub(crate) fn colours(&self) -> usize {
        self.state.lock().unwrap().colours
    }

    /// From now on nothing can be written.
    pub(crate) fn break_off(&self) {
        self.state.lock().unwrap().broken = true;
    }
}

impl State {
    fn put(&mut self, character: char, width: usize) {
        if let Some(sequence) = &mut self.sequence {
            sequence.push(character);
            if character != '[' && !character.is_ascii_digit() && character != ';' {
                let sequence = self.sequence.take().unwrap();
                self.obey(&sequence);
            }
            return;
        }
        match character {
            '\u{1b}' => self.sequence = Some(String::new()),
            '\r' => self.column = 0,
            '\n' => {
                self.row += 1;
                self.column = 0;
            }
            _ => {
                // A terminal wraps when the next character comes, not before.
                if self.column == width {
                    self.row += 1;
                    self.column = 0;
                }
                let (row, column) = (self.row, self.column);
                self.rows.resize(self.rows.len().max(row + 1), Vec::new());
                let cells = &mut self.rows[row];
                cells.resize(cells.len().max(column + 1), ' ');
                cells[column] = character;
                self.column += 1;
            }
        }
    }

    fn obey(&mut self, sequence: &str) {
        let (count, way) = sequence.split_at(sequence.len() - 1);
        let count: usize = count
            .trim_start_matches('[')
            .split(';')
            .next()
            .unwrap()
            .parse()
            .unwrap_or(1);
        match way {
            "A" => self.row = self.row.saturating_sub(count),
            "B" => self.row += count,
            "K" => {
                let row = self.row;
                if let Some(cells) = self.rows.get_mut(row) {
                    cells.clear();
                }
            }
            "m" => self.colours += 1,
            other => panic!("unexpected sequence {sequence:?} ({other})"),
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        if state.broken {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        for byte in bytes {
            state.bytes.push(*byte);
            let whole = std::str::from_utf8(&state.bytes)
                .ok()
                .and_then(|text| text.chars().next());
            if let Some(character) = whole {
                state.bytes.clear();
                state.put(character, self.width);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
