//! What instances cost at App Engine: the prices of its public list, for comparison.

use crate::scaling::InstanceClass;

/// Dollars for an hour of the smallest class (F1, B1) in us-central1, as <https://cloud.google.com/appengine/pricing> says.
pub const BASE: f64 = 0.05;

/// How many instance hours of the smallest class an hour of this class counts as (the same page: $0.05 for F1 and B1, $0.10 for F2 and B2, $0.20
/// for F4 and B4, $0.30 for `F4_1G` and `B4_1G`, $0.40 for B8).
pub fn multiple(class: InstanceClass) -> f64 {
    match class {
        InstanceClass::F1 | InstanceClass::B1 => 1.0,
        InstanceClass::F2 | InstanceClass::B2 => 2.0,
        InstanceClass::F4 | InstanceClass::B4 => 4.0,
        InstanceClass::F4_1G | InstanceClass::B4_1G => 6.0,
        InstanceClass::B8 => 8.0,
    }
}
