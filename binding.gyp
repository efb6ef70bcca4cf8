# The node-gyp build. Invariant: the sources are those of src/native/sources.txt, as in CMakeLists.txt and
# scripts/build-native.mjs; the flags of the three agree.
{
  'targets': [
    {
      'target_name': 'onepiece',
      'sources': ['<!@(grep -v "^#" src/native/sources.txt)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS'],
      'cflags': ['-Wall', '-Wextra', '-fPIC', '-fvisibility=hidden', '-pthread'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
      'cflags_cc': ['-std=c++20', '-fno-exceptions'],
      'ldflags': ['-pthread', '-static-libstdc++', '-Wl,--exclude-libs,ALL'],
      'libraries': ['-ldl'],
      'configurations': {
        'Release': {'cflags!': ['-O3'], 'cflags': ['-O2']}
      }
    }
  ]
}
