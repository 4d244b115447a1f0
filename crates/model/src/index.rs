//! index.yaml: the composite datastore indexes of an app.

/// One index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Index {
    /// The entity kind; empty means every kind.
    pub kind: String,
    /// Whether it serves ancestor queries.
    pub ancestor: bool,
    /// The properties, most significant first.
    pub properties: Vec<IndexProperty>,
}

/// One property of an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IndexProperty {
    /// Its name.
    pub name: String,
    /// Its order.
    pub order: IndexOrder,
}

/// How a property is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IndexOrder {
    /// `direction: asc`, the default.
    #[default]
    Ascending,
    /// `direction: desc`.
    Descending,
    /// `mode: geospatial`.
    Geospatial,
}
