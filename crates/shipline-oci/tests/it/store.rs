//! The store: digests, names, concurrency, leftovers, full disks, collection, export.

use std::fs;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use shipline_engine::backend::ImageStore;
use shipline_engine::error::ErrorClass;
use shipline_engine::fault::Faults;
use shipline_engine::folder::Place;
use shipline_oci::image::{self, OCI_MANIFEST};
use shipline_oci::store::LayoutStore;

use crate::support::{skopeo_config, small_image, store, tool};

#[test]
fn a_blob_is_there_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let digest = image::digest_of(b"hello");
    assert_eq!(store.size(&digest).unwrap(), None);
    assert_eq!(
        store.open(&digest).err().map(|error| error.class),
        Some(ErrorClass::NotFound)
    );
    let error = store.put_blob(&digest, &mut &b"hullo"[..]).unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(28))
        }
    }
    let error = store.put_blob(&digest, &mut Cut).unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable);
    assert!(!error.hints.is_empty());
    assert_eq!(
        fs::read_dir(directory.path().join("tmp")).unwrap().count(),
        0
    );
    assert_eq!(
        fs::read_dir(directory.path().join("blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
    store.put_blob(&digest, &mut &b"hello"[..]).unwrap();
    store.put_blob(&digest, &mut &b"hello"[..]).unwrap();
    let mut text = String::new();
    store
        .open(&digest)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(
        (text.as_str(), store.size(&digest).unwrap()),
        ("hello", Some(5))
    );
}

#[test]
fn a_manifest_needs_its_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let digest = small_image(&store, "a");
    let manifest = store.manifest(&digest).unwrap().unwrap();
    assert!(store.is_whole(&digest).unwrap());
    fs::remove_file(store.place(&manifest.layers[0].digest).unwrap().path()).unwrap();
    assert!(!store.is_whole(&digest).unwrap());
    let error = store
        .put_manifest(OCI_MANIFEST, &manifest.bytes)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    fs::write(store.place(&digest).unwrap().path(), b"{}").unwrap();
    assert_eq!(
        store.manifest(&digest).unwrap_err().class,
        ErrorClass::Conflict
    );
}

#[test]
fn a_layout_is_made_and_written_through_no_link() {
    let victim = tempfile::tempdir().unwrap();
    fs::write(victim.path().join("file"), "precious").unwrap();
    for name in [
        "",
        "tmp",
        "blobs",
        "blobs/sha256",
        "index.json",
        "oci-layout",
        "index.lock",
        "collect.lock",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::from(directory.path()).join("layout");
        let target = match name {
            "" | "tmp" | "blobs" | "blobs/sha256" => victim.path().to_path_buf(),
            _ => victim.path().join("file"),
        };
        // Without the slash that an empty name would leave at the end.
        let at: std::path::PathBuf = place.path().join(name).components().collect();
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, at).unwrap();
        let written = LayoutStore::open(&place, Faults::none()).and_then(|store| {
            store.put_blob(&image::digest_of(b"hello"), &mut &b"hello"[..])?;
            store.garbage(&[], Duration::ZERO)?.remove()
        });
        // What nobody reads or writes any more is in nobody's way.
        assert_eq!(written.is_err(), name != "oci-layout", "{name}");
        assert_eq!(fs::read(victim.path().join("file")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn names_lead_to_images_and_skopeo_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let (first, second) = (small_image(&store, "first"), small_image(&store, "second"));
    for name in ["frontend@staging", "frontend-staging", "user_service"] {
        store.name_image(&first, name).unwrap();
        store.name_image(&second, name).unwrap();
        assert_eq!(store.named(name).unwrap(), Some(second.clone()));
        let Some(config) = skopeo_config(directory.path(), name) else {
            continue;
        };
        assert_eq!(config["config"]["Labels"]["text"], "second");
    }
    assert_eq!(store.named("nobody").unwrap(), None);
    let error = store
        .name_image(&image::digest_of(b"nothing"), "x")
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
}

#[test]
fn concurrent_writers_lose_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for image in 0..4 {
                    let name = format!("image-{writer}-{image}");
                    let digest = small_image(store, &name);
                    store.name_image(&digest, &name).unwrap();
                }
            });
        }
    });
    for writer in 0..8 {
        for image in 0..4 {
            let digest = store
                .named(&format!("image-{writer}-{image}"))
                .unwrap()
                .unwrap();
            assert!(store.is_whole(&digest).unwrap());
        }
    }
}

#[test]
fn what_dead_processes_left_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    drop(store(directory.path()));
    let path = |name: &str| directory.path().join("tmp").join(name);
    let old = SystemTime::now() - Duration::from_secs(3600);
    for name in ["dead", "alive", "young"] {
        let file = fs::File::create(path(name)).unwrap();
        if name != "young" {
            file.set_modified(old).unwrap();
        }
    }
    let held = fs::File::open(path("alive")).unwrap();
    held.lock().unwrap();
    drop(store(directory.path()));
    assert!(!path("dead").exists());
    assert!(path("alive").exists() && path("young").exists());
}

#[test]
fn collection_keeps_what_is_reached_or_young() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let (kept, gone, young) = (
        small_image(&store, "kept"),
        small_image(&store, "gone"),
        small_image(&store, "young"),
    );
    for (digest, name) in [(&kept, "kept"), (&gone, "gone"), (&young, "young")] {
        store.name_image(digest, name).unwrap();
    }
    let old = SystemTime::now() - Duration::from_secs(3600);
    for digest in [&kept, &gone] {
        let manifest = store.manifest(digest).unwrap().unwrap();
        for blob in [digest, &manifest.config.digest, &manifest.layers[0].digest] {
            fs::File::open(store.place(blob).unwrap().path())
                .unwrap()
                .set_modified(old)
                .unwrap();
        }
    }
    let garbage = store
        .garbage(std::slice::from_ref(&kept), Duration::from_secs(60))
        .unwrap();
    assert!(garbage.leaves(&kept).unwrap() && garbage.leaves(&young).unwrap());
    assert!(!garbage.leaves(&gone).unwrap());
    let size = garbage.size();
    drop(garbage);
    assert!(store.is_whole(&gone).unwrap(), "looking removes nothing");
    let garbage = store
        .garbage(std::slice::from_ref(&kept), Duration::from_secs(60))
        .unwrap();
    let collected = garbage.remove().unwrap();
    assert_eq!(collected, size);
    // The layer is one and the same for all three.
    assert_eq!(collected.blobs, 2);
    assert!(store.is_whole(&kept).unwrap() && store.is_whole(&young).unwrap());
    assert_eq!(store.manifest(&gone).unwrap(), None);
    assert_eq!(store.named("gone").unwrap(), None);
    assert_eq!(store.named("young").unwrap(), Some(young));
    assert_eq!(store.named("kept").unwrap(), Some(kept));
}

#[test]
fn the_export_is_a_layout_and_a_docker_archive() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(&directory.path().join("store"));
    let digest = small_image(&store, "exported");
    let archive = directory.path().join("image.tar");
    let mut file = fs::File::create(&archive).unwrap();
    store
        .export_docker_archive(&digest, "frontend:1", &mut file)
        .unwrap();
    let mut names = Vec::new();
    let mut tar = tar::Archive::new(fs::File::open(&archive).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(image::digest_of(&bytes).hex(), hex);
        }
        names.push(name);
    }
    assert_eq!(names[..3], ["oci-layout", "index.json", "manifest.json"]);
    for form in ["oci-archive", "docker-archive"] {
        let target = format!("{form}:{}", archive.display());
        let Some((good, output)) = tool("skopeo", &["inspect", "--config", &target]) else {
            continue;
        };
        assert!(good && output.contains("exported"), "{form}: {output}");
    }
}
