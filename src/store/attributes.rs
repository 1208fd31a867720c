//! Attributes, as object_store has them and as files do.

use object_store_localfs_engine::{Attribute as Kept, Attributes as AllKept};

use super::{Attribute, Attributes};

const SAME: [(Attribute, Kept); 6] = [
    (Attribute::CacheControl, Kept::CacheControl),
    (Attribute::ContentDisposition, Kept::ContentDisposition),
    (Attribute::ContentEncoding, Kept::ContentEncoding),
    (Attribute::ContentLanguage, Kept::ContentLanguage),
    (Attribute::ContentType, Kept::ContentType),
    (Attribute::StorageClass, Kept::StorageClass),
];

/// Those of a new object. An error is the first that cannot be told apart from others.
pub(super) fn to_keep(attributes: &Attributes) -> Result<AllKept, Attribute> {
    let kept = attributes.iter().map(|(attribute, value)| {
        let name = match attribute {
            Attribute::Metadata(key) => Kept::Metadata(key.to_string()),
            other => match SAME.iter().find(|(known, _)| known == other) {
                Some((_, kept)) => kept.clone(),
                None => return Err(attribute.clone()),
            },
        };
        Ok((name, value.as_bytes().to_vec()))
    });
    kept.collect()
}

/// Those of an object. A value of another program's that is no string cannot be told.
pub(super) fn kept(attributes: &AllKept) -> Attributes {
    let told = attributes.iter().filter_map(|(name, value)| {
        let attribute = match name {
            Kept::Metadata(key) => Attribute::Metadata(key.clone().into()),
            other => {
                let (attribute, _) = SAME.iter().find(|(_, kept)| kept == other)?;
                attribute.clone()
            }
        };
        Some((attribute, String::from_utf8(value.to_vec()).ok()?))
    });
    told.collect()
}
