//! Databases of the three formats, made byte by byte: one package each, and what is broken about them.

use std::io::Cursor;

use super::*;

const INT32: u32 = 4;
const STRING: u32 = 6;

/// A header with these texts and this epoch.
fn header(texts: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    let mut entries = 0_u32;
    let mut add = |tag: u32, kind: u32, data: &[u8]| {
        let offset = u32::try_from(store.len()).unwrap();
        for number in [tag, kind, offset, 1] {
            index.extend(number.to_be_bytes());
        }
        store.extend(data);
        entries += 1;
    };
    if let Some(epoch) = epoch {
        add(1003, INT32, &epoch.to_be_bytes());
    }
    for (tag, text) in texts {
        add(*tag, STRING, format!("{text}\0").as_bytes());
    }
    let length = u32::try_from(store.len()).unwrap();
    [
        entries.to_be_bytes().to_vec(),
        length.to_be_bytes().to_vec(),
        index,
        store,
    ]
    .concat()
}

fn openssl() -> Vec<u8> {
    let texts = [
        (1000, "openssl-libs"),
        (1001, "3.0.7"),
        (1002, "18.el9"),
        (1014, "ASL 2.0"),
        (1022, "x86_64"),
        (1044, "openssl-3.0.7-18.el9.src.rpm"),
    ];
    header(&texts, Some(1))
}

fn key() -> Vec<u8> {
    header(
        &[(1000, "gpg-pubkey"), (1001, "fd431d51"), (1002, "4ae0493b")],
        None,
    )
}

#[track_caller]
fn check(path: &str, bytes: Vec<u8>) {
    let told = read(path, &mut Cursor::new(bytes));
    let found: Vec<String> = told.packages.iter().map(Package::purl).collect();
    assert_eq!(
        found,
        [
            "pkg:rpm/openssl-libs@3.0.7-18.el9?arch=x86_64&epoch=1&upstream=openssl-3.0.7-18.el9.src.rpm"
        ]
    );
    assert_eq!(told.packages[0].version.as_deref(), Some("1:3.0.7-18.el9"));
    assert_eq!(told.packages[0].licences, ["ASL 2.0"]);
    assert_eq!(told.notes, ["1 entry has no name or no version"]);
}

/// An NDB with these blobs.
fn ndb(blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"RpmP".to_vec();
    for number in [0_u32, 1, 1, 4, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    let mut data = Vec::new();
    for (at, blob) in blobs.iter().enumerate() {
        let number = u32::try_from(at + 1).unwrap();
        let offset = u32::try_from((4096 + data.len()) / 16).unwrap();
        file.extend(b"Slot");
        for value in [number, offset, 1] {
            file.extend(value.to_le_bytes());
        }
        data.extend(b"BlbS");
        for value in [number, 1, u32::try_from(blob.len()).unwrap()] {
            data.extend(value.to_le_bytes());
        }
        data.extend(blob);
        data.resize(data.len().next_multiple_of(16), 0);
    }
    // Slots that are free have only their mark.
    while file.len() < 4096 {
        file.extend(b"Slot");
        file.extend([0; 12]);
    }
    file.extend(data);
    file
}

/// A hash table of Berkeley DB with these values: the first stands in its page, others in pages of their own.
fn berkeley(values: &[Vec<u8>], size: usize) -> Vec<u8> {
    let mut pages: Vec<Vec<u8>> = vec![vec![0; size], vec![0; size]];
    let mut items: Vec<Vec<u8>> = Vec::new();
    for (at, value) in values.iter().enumerate() {
        items.push([vec![1], u32::try_from(at).unwrap().to_le_bytes().to_vec()].concat());
        if at == 0 {
            items.push([vec![1], value.clone()].concat());
            continue;
        }
        let mut item = vec![3, 0, 0, 0];
        item.extend(u32::try_from(pages.len()).unwrap().to_le_bytes());
        item.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        items.push(item);
        let parts: Vec<&[u8]> = value.chunks(size - 26).collect();
        for (part, bytes) in parts.iter().enumerate() {
            let mut page = vec![0; size];
            let next = if part + 1 < parts.len() {
                pages.len() + 1
            } else {
                0
            };
            page[16..20].copy_from_slice(&u32::try_from(next).unwrap().to_le_bytes());
            page[22..24].copy_from_slice(&u16::try_from(bytes.len()).unwrap().to_le_bytes());
            page[25] = 7;
            page[26..26 + bytes.len()].copy_from_slice(bytes);
            pages.push(page);
        }
    }
    let table = &mut pages[1];
    table[20..22].copy_from_slice(&u16::try_from(items.len()).unwrap().to_le_bytes());
    table[25] = 13;
    let mut end = size;
    for (at, item) in items.iter().enumerate() {
        let start = end - item.len();
        table[start..end].copy_from_slice(item);
        table[26 + 2 * at..28 + 2 * at]
            .copy_from_slice(&u16::try_from(start).unwrap().to_le_bytes());
        end = start;
    }
    let last = u32::try_from(pages.len() - 1).unwrap();
    let meta = &mut pages[0];
    meta[12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    meta[20..24].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    meta[32..36].copy_from_slice(&last.to_le_bytes());
    pages.concat()
}

fn varint(number: usize) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(number & 0x7f).unwrap()];
    let mut rest = number >> 7;
    while rest > 0 {
        bytes.insert(0, u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes
}

/// A row: its values with their kinds.
fn record(values: &[(usize, &[u8])]) -> Vec<u8> {
    let kinds: Vec<u8> = values.iter().flat_map(|(kind, _)| varint(*kind)).collect();
    let mut row = varint(kinds.len() + 1);
    row.extend(kinds);
    row.extend(values.iter().flat_map(|(_, data)| data.iter().copied()));
    row
}

/// An SQLite database with one page for the schema, one above, and one for each blob, those that are large going on elsewhere.
fn sqlite(blobs: &[Vec<u8>]) -> Vec<u8> {
    const SIZE: usize = 512;
    let short = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
    let long = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let leaf = |start: usize, row: &[u8], overflow: &[u8]| {
        let mut page = vec![0; SIZE];
        let cell = [varint(row.len() + overflow.len()), vec![1], row.to_vec()].concat();
        // The caller appends the number of the page on which it goes on.
        let at = SIZE - cell.len() - if overflow.is_empty() { 0 } else { 4 };
        page[at..at + cell.len()].copy_from_slice(&cell);
        page[start] = 0x0d;
        page[start + 3..start + 5].copy_from_slice(&short(1));
        page[start + 8..start + 10].copy_from_slice(&short(at));
        page
    };
    let schema = record(&[
        (23, b"table"),
        (29, b"Packages"),
        (29, b"Packages"),
        (1, &[2]),
        (13, b""),
    ]);
    let mut pages = vec![leaf(100, &schema, b""), vec![0; SIZE]];
    let mut rows = Vec::new();
    for blob in blobs {
        let row = record(&[(0, b""), (12 + 2 * blob.len(), blob)]);
        rows.push(pages.len() + 1);
        let most = SIZE - 35;
        if row.len() <= most {
            pages.push(leaf(0, &row, b""));
            continue;
        }
        let least = (SIZE - 12) * 32 / 255 - 23;
        let wanted = least + (row.len() - least) % (SIZE - 4);
        let here = if wanted <= most { wanted } else { least };
        let mut page = leaf(0, &row[..here], &row[here..]);
        let first = pages.len() + 2;
        page[SIZE - 4..].copy_from_slice(&long(first));
        pages.push(page);
        let parts: Vec<&[u8]> = row[here..].chunks(SIZE - 4).collect();
        for (part, bytes) in parts.iter().enumerate() {
            let next = if part + 1 < parts.len() {
                pages.len() + 2
            } else {
                0
            };
            let mut page = long(next).to_vec();
            page.extend(*bytes);
            page.resize(SIZE, 0);
            pages.push(page);
        }
    }
    let (last, inner) = rows.split_last().unwrap();
    let above = &mut pages[1];
    above[0] = 0x05;
    above[3..5].copy_from_slice(&short(inner.len()));
    above[8..12].copy_from_slice(&long(*last));
    for (at, row) in inner.iter().enumerate() {
        let cell = SIZE - 5 * (at + 1);
        above[12 + 2 * at..14 + 2 * at].copy_from_slice(&short(cell));
        above[cell..cell + 4].copy_from_slice(&long(*row));
    }
    let start = &mut pages[0];
    start[..16].copy_from_slice(b"SQLite format 3\0");
    start[16..18].copy_from_slice(&short(SIZE));
    pages.concat()
}

fn large() -> Vec<u8> {
    let files = "/usr/lib64/file".repeat(300);
    let texts = [
        (1000, "openssl-libs"),
        (1001, "3.0.7"),
        (1002, "18.el9"),
        (1014, "ASL 2.0"),
        (1022, "x86_64"),
        (1044, "openssl-3.0.7-18.el9.src.rpm"),
        (1117, files.as_str()),
    ];
    header(&texts, Some(1))
}

#[test]
fn the_three_formats_are_read() {
    let broken = header(&[(1000, "broken")], None);
    for packages in [[key(), openssl(), broken.clone()], [key(), large(), broken]] {
        check("usr/lib/sysimage/rpm/Packages.db", ndb(&packages));
        check("var/lib/rpm/Packages", berkeley(&packages, 512));
        check("var/lib/rpm/Packages", berkeley(&packages, 4096));
        check("var/lib/rpm/rpmdb.sqlite", sqlite(&packages));
    }
}

#[test]
fn what_is_damaged_is_told_and_ends() {
    for (path, whole) in [
        ("var/lib/rpm/Packages.db", ndb(&[large()])),
        ("var/lib/rpm/Packages", berkeley(&[key(), large()], 512)),
        ("var/lib/rpm/rpmdb.sqlite", sqlite(&[key(), large()])),
    ] {
        for end in (0..whole.len()).step_by(7) {
            let told = read(path, &mut Cursor::new(&whole[..end]));
            assert!(told.packages.is_empty() || told.notes.is_empty() || end > 512);
        }
        for at in 0..whole.len() {
            for flip in [0xff, 0x01] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = read(path, &mut Cursor::new(broken));
            }
        }
        assert_eq!(
            read(path, &mut Cursor::new(&b"x"[..])).notes.len(),
            1,
            "{path}"
        );
    }
    let log = "var/lib/rpm/rpmdb.sqlite-wal";
    assert_eq!(read(log, &mut Cursor::new(&b"x"[..])).notes.len(), 1);
    assert_eq!(read(log, &mut Cursor::new(&b""[..])), Told::default());
}

#[test]
fn packages_that_lie_in_each_other_take_no_more_than_their_file() {
    // Every slot of a page names the same megabyte.
    let mut file = ndb(&[large(), vec![0; 1024 * 1024]]);
    let slot = file[48..64].to_vec();
    for at in (64..4096).step_by(16) {
        file[at..at + 16].copy_from_slice(&slot);
    }
    let told = read("var/lib/rpm/Packages.db", &mut Cursor::new(file));
    assert_eq!(told.packages.len(), 1);
    assert_eq!(told.notes[1], "its packages lie in each other");
}

#[test]
fn an_image_without_rpm_has_a_list() {
    let told = manifest(
        "",
        b"glibc\t2.38-3.azl3\t1\t1\tVendor\t(none)\t10\tx86_64\t0\tglibc-2.38-3.azl3.src.rpm\nodd\n",
    );
    assert_eq!(
        told.packages[0].purl(),
        "pkg:rpm/glibc@2.38-3.azl3?arch=x86_64&upstream=glibc-2.38-3.azl3.src.rpm"
    );
    assert_eq!(told.notes, ["1 entry has no name or no version"]);
}
