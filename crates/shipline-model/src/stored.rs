//! How a few things stand in what is stored, where that is not their own shape.

/// A duration as whole milliseconds.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is no such number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Base images with their digests as objects with `reference` and `digest`.
pub mod bases {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::name::Digest;

    #[derive(Serialize, Deserialize)]
    struct Base {
        reference: String,
        digest: Digest,
    }

    /// Writes them.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(bases: &[(String, Digest)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(bases.iter().map(|(reference, digest)| Base {
            reference: reference.clone(),
            digest: digest.clone(),
        }))
    }

    /// Reads them.
    ///
    /// # Errors
    /// Where they are no such objects.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, Digest)>, D::Error> {
        let bases = Vec::<Base>::deserialize(from)?;
        Ok(bases
            .into_iter()
            .map(|base| (base.reference, base.digest))
            .collect())
    }
}
