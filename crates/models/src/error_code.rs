//! This file lists the service's error codes as data: six digits, a name, and the HTTP status they begin with.

use std::fmt;

macro_rules! error_codes {
    ($($number:literal $name:ident)*) => {
        /// An error code of the IoT Hub service.
        ///
        /// The first three digits are the HTTP status. Source: *Understand and resolve Azure IoT Hub
        /// errors* and the error enumerations of the official service clients.
        ///
        /// ```
        /// # use iothub_models::ErrorCode;
        /// let code = ErrorCode::DeviceNotFound;
        /// assert_eq!((code.number(), code.name()), (404001, "DeviceNotFound"));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($number), "`")] $name,)*
        }

        impl ErrorCode {
            /// All codes this crate knows.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The six digits.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The name, as the `iothub-errorcode` header carries it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

error_codes! {
    400000 GenericBadRequest
    400001 InvalidProtocolVersion
    400003 InvalidOperation
    400004 ArgumentInvalid
    400005 ArgumentNull
    400006 IotHubFormatError
    400012 DeserializationError
    400027 ConnectionForcefullyClosedOnNewConnection
    400505 InvalidDigitalTwinJsonPatch
    400506 InvalidDigitalTwinPayload
    400507 InvalidDigitalTwinPatch
    400508 InvalidDigitalTwinPatchPath
    401001 IotHubNotFound
    401002 IotHubUnauthorizedAccess
    401003 IotHubUnauthorized
    401100 SystemModuleModifyUnauthorizedAccess
    403002 IotHubQuotaExceeded
    403004 DeviceMaximumQueueDepthExceeded
    403009 InvalidMessageExpiryTime
    403010 OperationNotAvailableInCurrentTier
    403012 DeviceDisabled
    403800 DeviceMaximumInflightMethodExceeded
    404000 GenericNotFound
    404001 DeviceNotFound
    404010 ModuleNotFound
    404103 DeviceNotOnline
    404104 DeviceConnectionClosedRemotely
    405000 GenericMethodNotAllowed
    409001 DeviceAlreadyExists
    409002 LinkCreationConflict
    409301 ModuleAlreadyExistsOnDevice
    412001 PreconditionFailed
    412002 DeviceMessageLockLost
    413001 MessageTooLarge
    413003 TooManyModulesOnDevice
    415000 GenericUnsupportedMediaType
    429001 ThrottlingException
    500001 ServerError
    502000 GenericBadGateway
    502101 InvalidResponseWhileProxying
    503001 ServiceUnavailable
    503005 ServerBusy
    503102 DeviceUnavailable
    504101 GatewayTimeout
}

impl ErrorCode {
    /// The HTTP status the code belongs to.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        // Three digits always fit.
        (self.number() / 1000) as u16
    }

    /// The code with these six digits.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The code with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_name_and_status_belong_together() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
        assert_eq!(ErrorCode::DeviceMaximumQueueDepthExceeded.http_status(), 403);
        assert_eq!(ErrorCode::from_number(123_456), None);
    }
}
