//! An image's texts: the files of its layers and the values of its config.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use shipline_engine::backend::{Descriptor, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};

/// Larger configs than this are not what any builder makes, in bytes.
const LARGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// A compressed file is looked at up to here, in uncompressed bytes: one that never ends must not hold a run.
const LARGEST_UNPACKED: u64 = 4 * 1024 * 1024 * 1024;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// How files begin whose texts are compressed in another way: zip and jar, zstd, xz, bzip2.
const PACKED: &[&[u8]] = &[b"PK\x03\x04", ZSTD, b"\xfd7zX", b"BZh"];

/// A stream whose first bytes are known.
pub(super) type Known<R> = Chain<Cursor<Vec<u8>>, R>;

/// A gzip file's content, up to a limit.
pub(super) type Unpacked<R> = io::Take<MultiGzDecoder<BufReader<Known<R>>>>;

/// How a file in a layer is read.
pub(super) enum Opened<R: Read> {
    /// As it is.
    Plain(Known<R>),
    /// As it is, although its texts are compressed in a way that is not read.
    Packed(Known<R>),
    /// Unpacked from gzip.
    Unpacked(Box<Unpacked<R>>),
}

/// Reads the first bytes of a stream without losing them.
fn peek<R: Read>(mut from: R) -> io::Result<(Vec<u8>, Known<R>)> {
    let mut start = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut start)?;
    let known = Cursor::new(start.clone()).chain(from);
    Ok((start, known))
}

/// Opens a file of a layer; a gzip file is unpacked. Brotli has no mark of its own: it is told by the name.
pub(super) fn file<R: Read>(path: &str, from: R) -> io::Result<Opened<R>> {
    let (start, known) = peek(from)?;
    Ok(if start.starts_with(GZIP) {
        let unpacked = MultiGzDecoder::new(BufReader::new(known));
        Opened::Unpacked(Box::new(unpacked.take(LARGEST_UNPACKED)))
    } else if PACKED.iter().any(|mark| start.starts_with(mark)) || path.ends_with(".br") {
        Opened::Packed(known)
    } else {
        Opened::Plain(known)
    })
}

/// Opens a layer as a tar stream.
pub(super) fn layer(
    store: &dyn ImageStore,
    layer: &Descriptor,
) -> Result<Box<dyn Read + Send>, BackendError> {
    let blob = store.open(&layer.digest)?;
    let failed = |class: ErrorClass| {
        BackendError::new(class, format!("read layer {}", layer.digest.short()))
    };
    let (start, known) = peek(blob).map_err(|error| failed(ErrorClass::Failed).because(error))?;
    if start.starts_with(ZSTD) {
        return Err(failed(ErrorClass::Invalid)
            .because("it is compressed with zstd, which image-scan does not read yet")
            .hint("let the builder compress layers with gzip"));
    }
    if start.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            128 * 1024,
            known,
        ))));
    }
    if layer.media_type.ends_with("tar") {
        return Ok(Box::new(known));
    }
    Err(failed(ErrorClass::Invalid).because(format!(
        "it is called `{}`, and is neither tar nor gzip",
        layer.media_type
    )))
}

/// The values of an image's config that a container starts with, each with its field.
pub(super) fn config_texts(
    store: &dyn ImageStore,
    config: &Descriptor,
) -> Result<Vec<(String, String)>, BackendError> {
    let failed = |class: ErrorClass| {
        BackendError::new(
            class,
            format!("read image config {}", config.digest.short()),
        )
    };
    let mut bytes = Vec::new();
    store
        .open(&config.digest)?
        .take(LARGEST_CONFIG)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(ErrorClass::Failed).because(error))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| failed(ErrorClass::Invalid).because(error))?;
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
    Ok(texts)
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
