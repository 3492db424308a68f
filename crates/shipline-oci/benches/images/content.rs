//! What is put into the images: a made-up `node_modules` and an application, the same in every run.

use std::cell::Cell;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The Dockerfile: nothing in it must be executed, so that all builders can do it.
const DOCKERFILE: &str = "FROM scratch\nWORKDIR /app\nCOPY node_modules /app/node_modules\nCOPY src /app/src\nCMD [\"/app/src/server.js\"]\n";
/// Files in one made-up package.
const PACKAGE: usize = 32;
/// Words that the made-up sources consist of.
const WORDS: [&str; 64] = [
    "const",
    "let",
    "return",
    "function",
    "export",
    "import",
    "from",
    "require",
    "module",
    "exports",
    "default",
    "class",
    "extends",
    "this",
    "prototype",
    "options",
    "callback",
    "error",
    "value",
    "index",
    "length",
    "result",
    "buffer",
    "stream",
    "object",
    "string",
    "number",
    "undefined",
    "null",
    "true",
    "false",
    "if",
    "else",
    "for",
    "while",
    "switch",
    "case",
    "break",
    "typeof",
    "instanceof",
    "new",
    "throw",
    "try",
    "catch",
    "await",
    "async",
    "Promise",
    "resolve",
    "reject",
    "map",
    "filter",
    "reduce",
    "push",
    "slice",
    "concat",
    "toString",
    "hasOwnProperty",
    "defineProperty",
    "=>",
    "===",
    "!==",
    "&&",
    "||",
    "{};",
];

/// A generated build context.
pub(crate) struct Content {
    root: PathBuf,
    changes: Cell<u32>,
    /// Files in it.
    pub(crate) files: usize,
    /// Bytes of all files.
    pub(crate) bytes: usize,
}

impl Content {
    /// Writes about `bytes` bytes in `files` text files below `root`, and a small application beside them.
    pub(crate) fn generate(root: &Path, files: usize, bytes: usize) -> io::Result<Self> {
        let mut content = Self {
            root: root.to_path_buf(),
            changes: Cell::new(0),
            files: 0,
            bytes: 0,
        };
        let mut random = Random(0x5eed);
        let mut text = String::new();
        for number in 0..files {
            // Most files are small, some are bundles: sizes from a fourth of the mean upwards, a tenth far above it.
            let mean = bytes / files;
            let size = match random.below(10) {
                0 => mean * 4 + random.below(mean * 3),
                _ => mean / 4 + random.below(mean / 2),
            };
            random.text(&mut text, size);
            let package = format!("node_modules/package-{:04}", number / PACKAGE);
            let path = match number % PACKAGE {
                0 => format!("{package}/package.json"),
                1 => format!("{package}/README.md"),
                other if other % 3 == 0 => format!("{package}/dist/types/part-{other}.d.ts"),
                other => format!("{package}/dist/part-{other}.js"),
            };
            content.add(&path, &text)?;
        }
        for number in 0..40 {
            random.text(&mut text, 3_000);
            content.add(&format!("src/part-{number}.js"), &text)?;
        }
        content.add("src/server.js", "import './part-0.js';\n")?;
        content.add("Dockerfile", DOCKERFILE)?;
        Ok(content)
    }

    /// Writes a context with one file of `size` bytes that cannot be compressed.
    pub(crate) fn generate_large(root: &Path, size: u64) -> io::Result<()> {
        fs::create_dir_all(root)?;
        fs::write(root.join("Dockerfile"), "FROM scratch\nCOPY large /\n")?;
        let mut random = Random(0x1a46e);
        let mut piece = vec![0; 1 << 20];
        let mut file = fs::File::create(root.join("large"))?;
        let mut left = size;
        while left > 0 {
            for word in piece.chunks_exact_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes());
            }
            let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            file.write_all(&piece[..length])?;
            left -= length as u64;
        }
        file.sync_all()
    }

    /// The context's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Changes one small file of the application.
    pub(crate) fn change(&self) -> io::Result<()> {
        self.changes.set(self.changes.get() + 1);
        let text = format!(
            "import './part-0.js';\nconsole.log({});\n",
            self.changes.get()
        );
        fs::write(self.root.join("src/server.js"), text)
    }

    fn add(&mut self, path: &str, text: &str) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
        self.files += 1;
        self.bytes += text.len();
        Ok(())
    }
}

/// xorshift64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % limit.max(1)
    }

    /// Makes `text` about `size` bytes that look and compress like a script.
    fn text(&mut self, text: &mut String, size: usize) {
        text.clear();
        // Half of the names repeat within a file, as names do.
        let names: Vec<String> = (0..24)
            .map(|_| format!("_{:x}", self.next() >> 36))
            .collect();
        while text.len() < size {
            match self.below(5) {
                0 => text.push_str(&names[self.below(names.len())]),
                1 if self.below(3) == 0 => text.push_str(&format!("'{:x}'", self.next() >> 24)),
                _ => text.push_str(WORDS[self.below(WORDS.len())]),
            }
            text.push(if self.below(9) == 0 { '\n' } else { ' ' });
        }
    }
}
