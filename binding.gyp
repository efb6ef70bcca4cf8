# The node-gyp build. Invariant: the sources are those of src/native/sources.txt and the flags those of
# src/native/flags.txt, as in CMakeLists.txt and scripts/build-native.mjs; here is only what turns node-gyp's own off.
{
  'targets': [
    {
      'target_name': 'onepiece',
      'sources': ['<!@(grep -v "^#" src/native/sources.txt)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['<!@(sed -n "s/^define //p" src/native/flags.txt)'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
      'cflags_cc': ['<!@(sed -n "s/^compile //p" src/native/flags.txt)'],
      'ldflags': ['<!@(sed -n "s/^runtime //p" src/native/flags.txt)'],
      'libraries': ['<!@(sed -n "s/^link //p" src/native/flags.txt)'],
      'configurations': {
        'Release': {'cflags!': ['-O3'], 'cflags': ['<!@(sed -n "s/^optimize //p" src/native/flags.txt)']}
      }
    }
  ]
}
