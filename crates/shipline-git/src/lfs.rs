//! Git LFS: what stands in git for a file that is kept elsewhere.

/// What every pointer begins with.
pub(crate) const VERSION: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// The pointer to a content with this SHA-256 and size, byte for byte as Git LFS writes it.
pub(crate) fn pointer(sha256: &[u8], size: u64) -> Vec<u8> {
    let mut text = VERSION.to_vec();
    text.extend(format!("oid sha256:{}\nsize {size}\n", hex::encode(sha256)).bytes());
    text
}
