//! What a query reads: documents, whole or by their values.

use std::borrow::Cow;

use serde_json::Value;

use crate::path::{Path, Segment};

/// A document of a collection, as a query sees it.
///
/// `serde_json::Value` is one. A store that keeps documents as bytes beside extracted values implements
/// it to answer the extracted paths without reading the bytes.
pub trait Row {
    /// The value at a path, or nothing where there is none. `null` is a value.
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>>;

    /// The whole document, for `SELECT *`.
    fn document(&self) -> Cow<'_, Value>;
}

impl Row for Value {
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>> {
        let first = self.as_object()?.get(path.first())?;
        let value = path.rest().iter().try_fold(first, |value, segment| match segment {
            Segment::Name(name) => value.as_object()?.get(name),
            Segment::Index(index) => value.as_array()?.get(*index),
        });
        value.map(Cow::Borrowed)
    }

    fn document(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}

impl<R: Row + ?Sized> Row for &R {
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>> {
        (**self).value_at(path)
    }

    fn document(&self) -> Cow<'_, Value> {
        (**self).document()
    }
}
