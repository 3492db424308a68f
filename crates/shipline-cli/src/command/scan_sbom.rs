//! `scan sbom`: which packages one image holds.

use std::fmt::Write as _;
use std::path::PathBuf;

use shipline_engine::backend::ImageStore;
use shipline_engine::redact::clean_line;
use shipline_model::config::{RegistrySpec, did_you_mean};
use shipline_model::name::Digest;
use shipline_oci::archive::ImageArchive;
use shipline_oci::store::{LayoutStore, ListedImage};
use shipline_scan::StoreReader;
use shipline_scan::inventory::{Inventory, of_image};
use shipline_scan::sbom::cyclonedx;

use crate::args::{SbomFormat, ScanSbomArgs};
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::file;
use crate::secrets;
use crate::session::{self, Session};
use crate::settings::{Screen, Settings};
use crate::shown::{print, print_data, print_error};
use crate::wiring;

/// An image to look into.
struct Target {
    store: Box<dyn ImageStore>,
    digest: Digest,
    /// What people call it: the repository where that is known.
    name: String,
    /// Where large files may pass through.
    scratch: PathBuf,
}

/// A place that holds images.
struct Place {
    store: Box<dyn ImageStore>,
    images: Vec<ListedImage>,
    /// For messages.
    path: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &ScanSbomArgs, settings: &Settings) -> Result<u8, CommandError> {
    let target = match at_path(&args.target, settings)? {
        Some(target) => {
            // Only for the secrets that a pipeline.yaml here names: the image may be anybody's.
            let _ = session::state(settings);
            target
        }
        None => in_clone(&args.target, settings)?,
    };
    let reader = StoreReader::new(target.scratch);
    let found = of_image(&target.digest, &*target.store, &reader, &mut |_| Ok(()))?;
    for note in &found.notes {
        print_error(&format!("note: {note}\n"));
    }
    let redactor = secrets::redactor();
    let format = args.format.unwrap_or(match (&args.output, settings.page) {
        (None, Screen::Terminal { .. }) => SbomFormat::Table,
        (Some(_), _) | (None, Screen::Plain) => SbomFormat::Cyclonedx,
    });
    let text = match format {
        SbomFormat::Cyclonedx => {
            let document = redactor.mask_document(cyclonedx(&target.name, &found)?);
            String::from_utf8_lossy(&document).into_owned()
        }
        SbomFormat::Table => redactor.show(&table(&found)),
    };
    let code = match &args.output {
        None => match format {
            SbomFormat::Cyclonedx => print_data(&text)?,
            SbomFormat::Table => print(&text)?,
        },
        Some(path) => {
            let path = settings.directory.join(path);
            file::replace(&path, &text).map_err(|error| {
                CommandError::new(
                    ErrorKind::Failed,
                    format!("failed to write {}", path.display()),
                )
                .because(error)
            })?;
            exit::PASSED
        }
    };
    let packages = match found.packages.len() {
        // A static program says nothing of what it was made of: that is not the same as nothing.
        0 => "no package data found".to_owned(),
        1 => "1 package".to_owned(),
        count => format!("{count} packages"),
    };
    print_error(&format!(
        "{packages} in {} {}\n",
        target.name, target.digest
    ));
    Ok(code)
}

fn table(found: &Inventory) -> String {
    let rows: Vec<[String; 4]> = found
        .packages
        .iter()
        .map(|package| {
            let name = match (&package.namespace, package.release.is_some()) {
                (Some(namespace), false) => format!("{namespace}/{}", package.name),
                (Some(_), true) | (None, _) => package.name.clone(),
            };
            [
                package.kind.word().to_owned(),
                name,
                package.version.clone().unwrap_or_else(|| "-".to_owned()),
                package.licences.join(", "),
            ]
            .map(|cell| clean_line(&cell).into_owned())
        })
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [kind, name, version, licences] in &rows {
        let [one, two, three] = widths;
        let line = format!("{kind:one$}  {name:two$}  {version:three$}  {licences}");
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The image of a layout or archive, where the target is the path of one, with the name of an image behind a `:`.
fn at_path(target: &str, settings: &Settings) -> Result<Option<Target>, CommandError> {
    let split = target
        .split_once(':')
        .map(|(path, name)| (path, Some(name)));
    for (written, name) in [Some((target, None)), split].into_iter().flatten() {
        let path = settings.directory.join(written);
        let place = if path.join("index.json").is_file() {
            layout(LayoutStore::foreign(path))?
        } else if path.is_file() {
            let archive = ImageArchive::open(&path)?;
            Place {
                images: archive.images().to_vec(),
                store: Box::new(archive),
                path,
            }
        } else {
            continue;
        };
        let image = match name {
            Some(name) => {
                find(&place, name).ok_or_else(|| unknown(name, std::slice::from_ref(&place)))?
            }
            None => only(&place)?,
        };
        let name = name.or(image.name.as_deref()).map(repository);
        let file = place.path.file_stem().map(|stem| stem.to_string_lossy());
        return Ok(Some(Target {
            name: match (name, file) {
                (Some(name), _) => name.to_owned(),
                (None, Some(file)) => file.into_owned(),
                (None, None) => "image".to_owned(),
            },
            digest: image.digest.clone(),
            store: place.store,
            scratch: settings.temporary.clone(),
        }));
    }
    let is_path = target.starts_with(['.', '/']) || target.ends_with(".tar");
    if is_path {
        let path = settings.directory.join(target);
        let why = if path.is_dir() {
            "has no index.json: it is no OCI image layout"
        } else {
            "does not exist"
        };
        return Err(CommandError::usage(format!("{} {why}", path.display())));
    }
    Ok(None)
}

/// An image of the clone's store, or of a local registry.
fn in_clone(target: &str, settings: &Settings) -> Result<Target, CommandError> {
    let session = Session::open(settings)?;
    let mut places = vec![layout(wiring::store_as_it_is(&session, settings))?];
    for profile in session.config.profiles.values() {
        if let RegistrySpec::Layout { path } = &profile.registry {
            let root = session.place(path.as_str())?;
            places.push(layout(LayoutStore::foreign(root))?);
        }
    }
    for (index, place) in places.iter().enumerate() {
        let digest = match find(place, target) {
            Some(image) => Some(image.digest.clone()),
            None => by_digest(place, target)?,
        };
        if let Some(digest) = digest {
            return Ok(Target {
                name: repository_of(&digest, &places, &session),
                digest,
                store: places.swap_remove(index).store,
                scratch: wiring::scratch(&session)?,
            });
        }
    }
    Err(unknown(target, &places))
}

/// The repository that a pipeline publishes the image to: under this name, the document is the pipeline's.
fn repository_of(digest: &Digest, places: &[Place], session: &Session) -> String {
    let images = places.iter().flat_map(|place| &place.images);
    let mut named = images.filter(|image| image.digest == *digest);
    let Some(name) = named.find_map(|image| image.name.as_deref()) else {
        return "image".to_owned();
    };
    // `frontend@staging` in the store, `frontend:staging-…` in a registry.
    let name = name.split(['@', ':']).next().unwrap_or(name);
    let components = session.config.components.iter();
    let mut components = components.filter(|(component, _)| component.as_str() == name);
    match components.next() {
        Some((_, component)) => component.repository.to_string(),
        None => name.to_owned(),
    }
}

fn layout(store: LayoutStore) -> Result<Place, CommandError> {
    Ok(Place {
        images: store.images()?,
        path: store.layout().root().to_path_buf(),
        store: Box::new(store),
    })
}

/// The image of that name or digest. Of several platforms that share a name it is the one of this machine.
fn find<'p>(place: &'p Place, name: &str) -> Option<&'p ListedImage> {
    let of_name =
        |image: &&ListedImage| image.name.as_deref() == Some(name) || image.digest.as_str() == name;
    let mut named = place.images.iter().filter(of_name);
    let first = named.next()?;
    let own = std::iter::once(first)
        .chain(named)
        .find(|image| image.platform.as_deref().is_some_and(is_own_platform));
    Some(own.unwrap_or(first))
}

fn is_own_platform(platform: &str) -> bool {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    platform
        .strip_prefix("linux/")
        .is_some_and(|rest| rest.split('/').next() == Some(architecture))
}

/// An image that no index names.
fn by_digest(place: &Place, target: &str) -> Result<Option<Digest>, CommandError> {
    let digest = target.rsplit('@').next().unwrap_or(target);
    match Digest::new(digest) {
        Ok(digest) => Ok(place.store.manifest(&digest)?.map(|_| digest)),
        Err(_) => Ok(None),
    }
}

/// The only image of a place; of several platforms, that of this machine.
fn only(place: &Place) -> Result<&ListedImage, CommandError> {
    let own = |image: &&ListedImage| image.platform.as_deref().is_none_or(is_own_platform);
    let mut own: Vec<&ListedImage> = place.images.iter().filter(own).collect();
    own.dedup_by(|one, other| one.digest == other.digest);
    match (own.as_slice(), place.images.as_slice()) {
        ([image], _) => Ok(*image),
        ([], [image]) => Ok(image),
        ([], []) => Err(CommandError::usage(format!(
            "{} holds no image",
            place.path.display()
        ))),
        (_, images) => {
            let shown = images.iter().map(shown);
            Err(CommandError::usage(format!(
                "{} holds {} images",
                place.path.display(),
                images.len()
            ))
            .hint(format!(
                "name one behind a `:`: {}",
                shown.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}

fn shown(image: &ListedImage) -> String {
    match (&image.name, &image.platform) {
        (Some(name), None) => name.clone(),
        (Some(name), Some(platform)) => format!("{name} ({platform})"),
        (None, _) => image.digest.to_string(),
    }
}

fn unknown(name: &str, places: &[Place]) -> CommandError {
    let paths = places.iter().map(|place| place.path.display().to_string());
    let images = places.iter().flat_map(|place| &place.images);
    let mut known: Vec<&str> = images.filter_map(|image| image.name.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    CommandError::usage(format!(
        "there is no image `{name}` in {}",
        paths.collect::<Vec<_>>().join(" or ")
    ))
    .hint(did_you_mean(name, known))
}

/// A name without its tag.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => name,
    }
}
