//! Shows an image's layers to everybody who looks: each layer is read once.

use std::io::{self, Read, Seek};
use std::path::PathBuf;

use shipline_engine::archive::{Entry, EntryKind, TarReader};
use shipline_engine::backend::{
    ImageReader, ImageStore, Opened, Shown, Step, Visitor, Want, Whole,
};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use super::spool::{Kept, Spool, Tee};
use super::{Image, peek};

/// A file that several visitors want as a stream is kept up to this many bytes.
const LARGEST_SHARED: u64 = 4 * 1024 * 1024 * 1024;

/// Reads images of a store.
#[derive(Debug)]
pub struct StoreReader {
    scratch: PathBuf,
}

impl StoreReader {
    /// A reader that lets files which are too large for memory pass through `scratch`, a folder that need not exist.
    #[must_use]
    pub fn new(scratch: PathBuf) -> Self {
        Self { scratch }
    }
}

impl ImageReader for StoreReader {
    fn show(
        &self,
        digest: &Digest,
        store: &dyn ImageStore,
        visitors: &mut [&mut dyn Visitor],
        step: &mut Step<'_>,
    ) -> Result<(), BackendError> {
        let image = Image::open(store, digest)?;
        let opened = Opened {
            manifest: &image.manifest,
            config: &image.config,
        };
        for visitor in &mut *visitors {
            visitor.open(opened).map_err(|error| {
                let what = format!("look into the config of image {}", digest.short());
                BackendError::new(ErrorClass::Failed, what).because(error)
            })?;
        }
        let mut spool = Spool::new(self.scratch.clone());
        for index in 0..image.manifest.layers.len() {
            layer(&image, index, visitors, &mut spool, step)?;
        }
        Ok(())
    }
}

fn layer(
    image: &Image<'_>,
    index: usize,
    visitors: &mut [&mut dyn Visitor],
    spool: &mut Spool,
    step: &mut Step<'_>,
) -> Result<(), BackendError> {
    let failed =
        |error: io::Error| BackendError::new(ErrorClass::Failed, image.named(index)).because(error);
    let counted = Counted {
        from: image.layer(index)?,
        step,
    };
    let mut tar = TarReader::new(counted);
    while let Some(entry) = tar.next_entry().map_err(failed)? {
        let at = At {
            layer: index,
            digest: &image.manifest.layers[index].digest,
            entry: &entry,
        };
        if let EntryKind::File { .. } = entry.kind {
            at.file(&mut tar, visitors, spool).map_err(|error| {
                let path = String::from_utf8_lossy(&entry.path);
                let path = path.trim_start_matches("./").trim_start_matches('/');
                let what = format!("{}, /{path}", image.named(index));
                BackendError::new(ErrorClass::Failed, what).because(error)
            })?;
        } else {
            for visitor in &mut *visitors {
                visitor.entry(at.shown(&[]));
            }
        }
    }
    image.finish(index, tar.into_inner().from)
}

/// An entry and where it is.
#[derive(Clone, Copy)]
struct At<'e> {
    layer: usize,
    digest: &'e Digest,
    entry: &'e Entry,
}

impl<'e> At<'e> {
    fn shown(self, start: &'e [u8]) -> Shown<'e> {
        Shown {
            layer: self.layer,
            digest: self.digest,
            entry: self.entry,
            start,
        }
    }

    /// Offers a file to all. The first who wants it as a stream reads it as it comes; for the others it is kept meanwhile.
    fn file(
        self,
        file: &mut impl Read,
        visitors: &mut [&mut dyn Visitor],
        spool: &mut Spool,
    ) -> io::Result<()> {
        let (start, file) = peek(file)?;
        let shown = self.shown(&start);
        let mut stream = None;
        let mut others = Vec::new();
        let mut largest = None;
        for (index, visitor) in visitors.iter_mut().enumerate() {
            let want = visitor.entry(shown);
            let kept = match (want, stream) {
                (Want::Nothing, _) => continue,
                (Want::Stream, None) => {
                    stream = Some(index);
                    continue;
                }
                (Want::Stream, Some(_)) => LARGEST_SHARED,
                (Want::Whole { largest }, _) => largest,
            };
            largest = largest.max(Some(kept));
            others.push((index, want, kept));
        }
        let mut file = file;
        let Some(largest) = largest else {
            return match stream {
                Some(index) => visitors[index].stream(shown, &mut file),
                None => Ok(()),
            };
        };
        let mut capture = spool.capture(largest);
        let mut tee = Tee {
            from: file,
            capture: &mut capture,
        };
        if let Some(index) = stream {
            visitors[index].stream(shown, &mut tee)?;
        }
        tee.drain()?;
        let mut kept = capture.kept();
        for (index, want, largest) in others {
            let whole = match &mut kept {
                Kept::Content(content, size) if *size <= largest => {
                    content.rewind()?;
                    if want == Want::Stream {
                        visitors[index].stream(shown, content)?;
                        continue;
                    }
                    Whole::Content(&mut **content)
                }
                Kept::Content(..) | Kept::TooLarge => Whole::TooLarge,
                Kept::NoRoom(error) => {
                    Whole::NoRoom(io::Error::new(error.kind(), error.to_string()))
                }
            };
            visitors[index].whole(shown, whole)?;
        }
        Ok(())
    }
}

/// Tells of every byte that goes through.
struct Counted<'s, 'f, R> {
    from: R,
    step: &'s mut Step<'f>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        (self.step)(read as u64)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use shipline_engine::backend::Verified;

    use super::*;
    use crate::testing::{GZIP_LAYER, Memory, TAR_LAYER, gzip, image, tar};

    /// Wants all files in one way, and keeps what it got.
    struct Keeping {
        want: Want,
        got: Vec<(usize, String)>,
    }

    impl Keeping {
        fn new(want: Want) -> Self {
            Self {
                want,
                got: Vec::new(),
            }
        }

        fn keep(&mut self, shown: Shown<'_>, mut file: impl Read) -> io::Result<()> {
            let mut text = String::from_utf8_lossy(&shown.entry.path).into_owned();
            text.push_str(": ");
            file.read_to_string(&mut text)?;
            self.got.push((shown.layer, text));
            Ok(())
        }
    }

    impl Visitor for Keeping {
        fn open(&mut self, _: Opened<'_>) -> io::Result<()> {
            Ok(())
        }

        fn entry(&mut self, _: Shown<'_>) -> Want {
            self.want
        }

        fn stream(&mut self, shown: Shown<'_>, file: &mut dyn Read) -> io::Result<()> {
            self.keep(shown, file)
        }

        fn whole(&mut self, shown: Shown<'_>, file: Whole<'_>) -> io::Result<()> {
            match file {
                Whole::Content(content) => self.keep(shown, content),
                Whole::TooLarge => self.keep(shown, &b"too large"[..]),
                Whole::NoRoom(error) => Err(error),
            }
        }
    }

    fn two_layers() -> (Memory, Digest) {
        let first = tar(&[("a", b"one"), ("b", b"longer than that")]);
        let second = gzip(&tar(&[("c", b"two")]));
        image(
            r#"{"config":{}}"#,
            &[(TAR_LAYER, first), (GZIP_LAYER, second)],
        )
    }

    #[test]
    fn each_layer_is_read_once_and_each_file_offered_to_all() {
        let (mut store, digest) = two_layers();
        store.verified = Some(Verified::WhenTaken);
        let scratch = tempfile::tempdir().unwrap();
        let reader = StoreReader::new(scratch.path().to_path_buf());
        let mut streaming = [Keeping::new(Want::Stream), Keeping::new(Want::Stream)];
        let mut whole = Keeping::new(Want::Whole { largest: 4 });
        let mut nothing = Keeping::new(Want::Nothing);
        let [first, second] = &mut streaming;
        let mut read = 0;
        reader
            .show(
                &digest,
                &store,
                &mut [&mut nothing, first, &mut whole, second],
                &mut |bytes| {
                    read += bytes;
                    Ok(())
                },
            )
            .unwrap();
        let all = [
            (0, "a: one".to_owned()),
            (0, "b: longer than that".to_owned()),
            (1, "c: two".to_owned()),
        ];
        for visitor in streaming {
            assert_eq!(visitor.got, all);
        }
        let [one, _, two] = all;
        assert_eq!(whole.got, [one, (0, "b: too large".to_owned()), two]);
        assert_eq!(nothing.got, []);
        let sizes = [
            tar(&[("a", b"one"), ("b", b"longer than that")]),
            tar(&[("c", b"two")]),
        ];
        let most: u64 = sizes.iter().map(|layer| layer.len() as u64).sum();
        assert!(0 < read && read <= most, "{read} of {most}");
    }

    #[test]
    fn an_error_of_one_ends_the_reading_and_names_the_file() {
        struct Failing;
        impl Visitor for Failing {
            fn open(&mut self, _: Opened<'_>) -> io::Result<()> {
                Ok(())
            }
            fn entry(&mut self, _: Shown<'_>) -> Want {
                Want::Stream
            }
            fn stream(&mut self, _: Shown<'_>, _: &mut dyn Read) -> io::Result<()> {
                Err(io::Error::other("the task was stopped"))
            }
            fn whole(&mut self, _: Shown<'_>, _: Whole<'_>) -> io::Result<()> {
                Ok(())
            }
        }
        let (store, digest) = two_layers();
        let scratch = tempfile::tempdir().unwrap();
        let reader = StoreReader::new(scratch.path().to_path_buf());
        let mut failing = Failing;
        let visitors: &mut [&mut dyn Visitor] = &mut [&mut failing];
        let error = reader.show(&digest, &store, visitors, &mut |_| Ok(()));
        let error = error.unwrap_err();
        assert!(error.to_string().contains("layer 1), /a"), "{error}");
    }
}
