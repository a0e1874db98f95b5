use std::collections::BTreeMap;

use crate::{Announcement, Name, Prefix, Service, Violation};

/// What services say of their VIPs' announcement: those that share a VIP say the same, and what has one owner is an address.
#[derive(Default)]
pub(super) struct Announcements<'a> {
    vips: BTreeMap<Prefix, Vec<Announced<'a>>>,
}

/// A VIP of a service that says something.
struct Announced<'a> {
    /// Of the service's specification, if it is in the document.
    path: Option<&'a str>,
    service: &'a Name,
    announcement: Announcement,
}

impl<'a> Announcements<'a> {
    /// Adds a service, with its path if it is in the document.
    pub(super) fn add(&mut self, path: Option<&'a str>, service: &'a Service) {
        let Some(announcement) = &service.announcement else {
            return;
        };
        for vip in &service.vips {
            self.vips.entry(*vip).or_default().push(Announced {
                path,
                service: &service.name,
                announcement: announcement.shared(),
            });
        }
    }

    /// Each service of the document that says something else than one before it, or than one that is stored.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (vip, services) in &self.vips {
            // Who is to change it is in the document.
            let mut services: Vec<_> = services.iter().collect();
            services.sort_by_key(|it| it.path.is_some());
            let [first, rest @ ..] = services.as_slice() else {
                continue;
            };
            for other in rest {
                if let Some(path) = other.path
                    && other.announcement != first.announcement
                {
                    found.push(Violation::new(
                        format!("{path}.announce"),
                        format!(
                            "service `{}` says something else of {vip}: say the same in both (`min_healthy_servers` may differ), or in one alone",
                            first.service
                        ),
                    ));
                }
            }
        }
        found
    }
}
