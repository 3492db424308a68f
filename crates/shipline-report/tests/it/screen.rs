//! A terminal as far as the reporter uses one: lines that it breaks into rows, and breaks anew when its width changes, a cursor,
//! and the few escape sequences that move it.

use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct State {
    /// Lines as they were written; each takes as many rows as it needs.
    lines: Vec<Vec<char>>,
    /// The line and the place in it where the next character comes.
    line: usize,
    place: usize,
    /// The begun escape sequence.
    sequence: Option<String>,
    /// Bytes of a begun character.
    bytes: Vec<u8>,
    colours: usize,
    broken: bool,
    width: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Screen {
    state: Arc<Mutex<State>>,
}

impl Screen {
    pub(crate) fn new(width: usize) -> Self {
        let state = State {
            lines: vec![Vec::new()],
            width,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn text(&self) -> String {
        let state = self.state.lock().unwrap();
        let lines = state.lines.iter().map(|line| {
            let line: String = line.iter().collect();
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Columns.
    pub(crate) fn width(&self) -> usize {
        self.state.lock().unwrap().width
    }

    /// A person makes the window narrower or wider.
    pub(crate) fn resize(&self, width: usize) {
        self.state.lock().unwrap().width = width;
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
    fn put(&mut self, character: char) {
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
            '\r' => self.place = 0,
            '\n' => {
                self.line += 1;
                self.place = 0;
                let lines = self.lines.len().max(self.line + 1);
                self.lines.resize(lines, Vec::new());
            }
            _ => {
                let cells = &mut self.lines[self.line];
                cells.resize(cells.len().max(self.place + 1), ' ');
                cells[self.place] = character;
                self.place += 1;
            }
        }
    }

    /// Moves to the start of the row above.
    fn up(&mut self) {
        let row = self.place / self.width;
        if row > 0 {
            self.place = (row - 1) * self.width;
        } else if self.line > 0 {
            self.line -= 1;
            let rows = self.lines[self.line].len().div_ceil(self.width).max(1);
            self.place = (rows - 1) * self.width;
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
            "A" => (0..count).for_each(|_| self.up()),
            "J" => {
                self.lines.truncate(self.line + 1);
                self.lines[self.line].truncate(self.place);
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
                state.put(character);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
