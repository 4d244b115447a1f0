//! Where an address lies, from a MaxMind-format file (row H6).

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{Reader, geoip2};
use model::headers::request::Geo;

use crate::BindError;

/// The database, if one was given.
#[derive(Default)]
pub(crate) struct Places(Option<Reader<Vec<u8>>>);

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Places").field(&self.0.is_some()).finish()
    }
}

impl Places {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, BindError> {
        let Some(path) = path else { return Ok(Self(None)) };
        Reader::open_readfile(path)
            .map(|reader| Self(Some(reader)))
            .map_err(|error| BindError::Geo { path: path.to_owned(), why: error.to_string() })
    }

    /// What the database knows; nothing (country `ZZ`) if it does not know the address.
    pub(crate) fn find(&self, ip: IpAddr) -> Geo {
        let Some(reader) = &self.0 else { return Geo::default() };
        let found = reader.lookup(ip.to_canonical()).ok().and_then(|found| found.decode::<geoip2::City<'_>>().ok().flatten());
        let Some(city) = found else { return Geo::default() };
        // The names become header lines, and come from a file that we did not write.
        let plain = |text: &&str| text.bytes().all(|b| matches!(b, b' '..=b'~'));
        let lower = |text: &str| text.to_ascii_lowercase();
        let point = city.location.latitude.zip(city.location.longitude);
        Geo {
            country: city.country.iso_code.filter(plain).map(str::to_ascii_uppercase),
            region: city.subdivisions.first().and_then(|region| region.iso_code).filter(plain).map(lower),
            city: city.city.names.english.filter(plain).map(lower),
            lat_long: point.map(|(latitude, longitude)| format!("{latitude:.6},{longitude:.6}")),
        }
    }
}
