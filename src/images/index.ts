export { buildDefaultImage, defaultAgentPath, type BuildOptions } from './build.ts';
export {
  defaultImageName,
  type BuildEvent,
  type FileRecord,
  type GuestImage,
  type ImageManifest,
  type PackageRecord,
} from './image.ts';
export { findImage, listImages } from './store.ts';
