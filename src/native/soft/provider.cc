// Invariant: there is one soft device, `soft0`; each opening of it is a device of its own with its own address.
#include <errno.h>

#include "context.h"

namespace onepiece {

namespace {

class SoftDeviceProvider final : public DeviceProvider {
 public:
  const char* Kind() const override { return "soft"; }

  int List(std::vector<DeviceListing>* out, std::string* why) override {
    why->clear();
    out->push_back({"soft0", "soft", "shared-memory", ""});
    return 0;
  }

  int Open(const std::string& name, std::unique_ptr<Device>* out, std::string* why) override {
    if (name != "soft0") {
      *why = "the soft device is called soft0";
      return -ENODEV;
    }
    int rc = soft::Context::Open(out);
    if (rc != 0) *why = "the shared-memory directory could not be made";
    return rc;
  }
};

}  // namespace

DeviceProvider& SoftProvider() {
  static SoftDeviceProvider provider;
  return provider;
}

}  // namespace onepiece
