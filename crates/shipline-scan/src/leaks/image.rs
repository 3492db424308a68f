//! An image's texts: the files of its layers and the values of its config.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;

use crate::layers::{GZIP, Known, ZSTD, peek};

/// A compressed file is looked at up to here, in uncompressed bytes: one that never ends must not hold a run.
const LARGEST_UNPACKED: u64 = 4 * 1024 * 1024 * 1024;

/// How files begin whose texts are compressed in another way: zip and jar, zstd, xz, bzip2.
const PACKED: &[&[u8]] = &[b"PK\x03\x04", ZSTD, b"\xfd7zX", b"BZh"];

/// A gzip file's content, up to a limit.
pub(super) type Unpacked<R> = io::Take<MultiGzDecoder<BufReader<Known<R>>>>;

/// How a file in a layer is read.
pub(super) enum File<R: Read> {
    /// As it is.
    Plain(Known<R>),
    /// As it is, although its texts are compressed in a way that is not read.
    Packed(Known<R>),
    /// Unpacked from gzip.
    Unpacked(Box<Unpacked<R>>),
}

/// Opens a file of a layer; a gzip file is unpacked. Brotli has no mark of its own: it is told by the name.
pub(super) fn file<R: Read>(path: &str, from: R) -> io::Result<File<R>> {
    let (start, known) = peek(from)?;
    Ok(if start.starts_with(GZIP) {
        let unpacked = MultiGzDecoder::new(BufReader::new(known));
        File::Unpacked(Box::new(unpacked.take(LARGEST_UNPACKED)))
    } else if PACKED.iter().any(|mark| start.starts_with(mark)) || path.ends_with(".br") {
        File::Packed(known)
    } else {
        File::Plain(known)
    })
}

/// The values of an image's config that a container starts with, each with its field.
pub(super) fn config_texts(value: &Value) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for field in [
        "Env",
        "Labels",
        "Cmd",
        "Entrypoint",
        "Healthcheck",
        "OnBuild",
    ] {
        if let Some(value) = value.get("config").and_then(|config| config.get(field)) {
            collect(&format!("config.{field}"), value, &mut texts);
        }
    }
    texts
}

/// All texts below a value. Docker nests no deeper than its own types do, so the depth is theirs.
fn collect(field: &str, value: &Value, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => texts.push((field.to_owned(), text.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{field}[{index}]"), item, texts);
            }
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                texts.push((format!("{field}.{name}"), name.clone()));
                collect(&format!("{field}.{name}"), value, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
