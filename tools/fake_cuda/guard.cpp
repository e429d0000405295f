// Lets a CPU build of torch believe that it has a CUDA device on which nothing can be done: enough for autograd, streams
// and page-locked memory over FakeTensors of device "cuda". Loaded before torch looks for its CUDA parts.
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/transformers/attention.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <map>
#include <mutex>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

constexpr DeviceIndex kDevices = 8;
thread_local DeviceIndex current = 0;
int capability = 8;  // major number, which the choice of kernels depends on
thread_local c10::StreamId stream_of[kDevices] = {};

// Page-locked memory is plain memory whose addresses are remembered.
class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = std::malloc(bytes ? bytes : 1);
    std::lock_guard<std::mutex> lock(mutex_);
    sizes_[data] = bytes ? bytes : 1;
    return {data, data, &release, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  static bool holds(const void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto after = sizes_.upper_bound(const_cast<void*>(data));
    if (after == sizes_.begin()) return false;
    auto block = std::prev(after);
    return static_cast<const char*>(data) < static_cast<const char*>(block->first) + block->second;
  }

 private:
  static void release(void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    sizes_.erase(data);
    std::free(data);
  }
  static std::mutex mutex_;
  static std::map<void*, size_t> sizes_;
};
std::mutex PinnedAllocator::mutex_;
std::map<void*, size_t> PinnedAllocator::sizes_;

struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return kDevices; }
  DeviceIndex getCurrentDevice() const override { return current; }
  bool isPinnedPtr(const void* data) const override { return PinnedAllocator::holds(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedAllocator allocator;
    return &allocator;
  }
};

struct Guard : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void uncheckedSetDevice(Device device) const noexcept override { current = device.index(); }
  void setDevice(Device device) const override { current = device.index(); }
  Device exchangeDevice(Device device) const override {
    Device before = getDevice();
    if (device.has_index()) current = device.index();
    return before;
  }
  DeviceIndex deviceCount() const noexcept override { return kDevices; }
  Stream getStream(Device device) const override { return Stream(Stream::UNSAFE, device, stream_of[index(device)]); }
  Stream getDefaultStream(Device device) const override { return Stream(Stream::DEFAULT, device); }
  Stream getNewStream(Device device, int) const override {
    static c10::StreamId made = 0;
    return Stream(Stream::UNSAFE, device, ++made);
  }
  Stream exchangeStream(Stream stream) const override {
    Stream before = getStream(stream.device());
    stream_of[index(stream.device())] = stream.id();
    return before;
  }
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}

 private:
  static DeviceIndex index(Device device) { return device.has_index() ? device.index() : current; }
};

}  // namespace

extern "C" void fake_cuda_set_capability(int major) { capability = major; }

namespace at {
using ::CUDAHooks;  // torch finds it by this name
REGISTER_CUDA_HOOKS(CUDAHooks)

namespace native {
namespace {
// What torch's own choice comes to for 16-bit heads without a mask: cuDNN on Hopper and Blackwell (torch 2.11 and newer,
// whose cuDNN is above 9.15), FlashAttention on other cards of sm_80 and newer; else plain math.
int64_t choose_attention(const Tensor& query, const Tensor&, const Tensor&, const std::optional<Tensor>& mask, double,
                         bool, std::optional<double>, bool) {
  const bool half = query.scalar_type() == kBFloat16 || query.scalar_type() == kHalf;
  constexpr int64_t kMath = 0, kFlash = 1, kCudnn = 3;
  if (!half || mask.has_value() || query.sym_size(-1) > 256) return kMath;
  return capability == 9 || capability == 10 ? kCudnn : kFlash;
}
}  // namespace
REGISTER_CUDA_DISPATCH(_fused_sdp_choice_stub, &choose_attention)
}  // namespace native
}  // namespace at

C10_REGISTER_GUARD_IMPL(CUDA, Guard);
